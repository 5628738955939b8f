#!/bin/bash
# The checks and the tests, after "setup.sh --dev". Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

export PATH=$PWD/.venv/bin:$PATH
ruff check --quiet .
ruff format --check --quiet . || { say "Format with: ruff format"; exit 1; }
mypy --no-error-summary
# The generated assistant's own code is held to the same, from its own root.
ruff check --quiet --config pyproject.toml templates/chatbot/app/*.py
(cd templates/chatbot && mypy --no-error-summary --strict --cache-dir="$OLDPWD/.mypy_cache/chatbot" app)
lint-imports --no-logo >/dev/null || lint-imports --no-logo
# Three at a time, since most of their time is waiting. What fails is run once more alone, and must pass then: it is not
# the load of the other two that is tested.
pytest --numprocesses 3 --dist worksteal --durations 20 "$@" || {
    say "Once more, one at a time: what has failed"
    pytest --last-failed --last-failed-no-failures none "$@"
}
