#!/bin/bash
# Ends what was started here: the products with their edges, and the engine where setup started it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
. scripts/packages.sh
. scripts/engine.sh

if [ -x .venv/bin/dockwright ] && engine_answers; then
    for product in $(.venv/bin/dockwright products --json | .venv/bin/python -c '
import json, sys
print(*(product["slug"] for product in json.load(sys.stdin) if product["status"] != "stopped"))'); do
        .venv/bin/dockwright stop "$product"
    done
fi

if pid=$(started_engine); then
    say "Stopping the Docker engine"
    kill "$pid"
    for _ in $(seq 60); do started_engine >/dev/null || break; sleep 0.5; done
    rm -f "$state/engine/dockerd.pid"
fi
