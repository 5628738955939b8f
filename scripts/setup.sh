#!/bin/bash
# Sets this machine up: the Python environment, the tools that Dockwright drives, a Docker engine where there is none,
# base images where no image registry can be reached. Does only what is missing, so it is quick when run again.
# --dev adds what the tests need.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
. scripts/packages.sh
. scripts/python.sh
. scripts/engine.sh
. scripts/servers.sh

install_tools git haproxy
if can_install; then install_tools mmdebstrap; fi
setup_engine
setup_python requirements.lock
if [ "${1-}" = --dev ]; then
    setup_python requirements-dev.lock
    setup_test_servers
fi
.venv/bin/dockwright base --if-needed >/dev/null
.venv/bin/dockwright doctor --quiet
