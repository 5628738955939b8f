#!/bin/bash
# The checks and the tests, after "setup.sh --dev". Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

export PATH=$PWD/.venv/bin:$PATH
ruff check --quiet .
ruff format --check --quiet . || { say "Format with: ruff format"; exit 1; }
mypy --no-error-summary
lint-imports --no-logo >/dev/null || lint-imports --no-logo
pytest "$@"
