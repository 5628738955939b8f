# The Python environment in .venv, from a hashed lock.

# setup_python LOCK
setup_python() {
    local stamp=.venv/.installed-${1%.lock}
    make_environment
    if ! cat "$1" pyproject.toml | cmp -s - "$stamp"; then
        say "Installing the Python environment from $1"
        require_room . 500000
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$1" </dev/null ||
            fail "the Python packages of $1 could not be installed" "See the lines above; the machine must reach its package index"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . </dev/null
        cat "$1" pyproject.toml >"$stamp"
    fi
    # Where Python is told to write no byte code, each start of the command would compile everything anew.
    .venv/bin/python -m compileall -q dockwright
}

make_environment() {
    if .venv/bin/python -c 'import pip' 2>/dev/null; then return; fi
    local python
    python=$(find_python) || {
        can_install || fail "there is no Python 3.11 with venv" "Install it (Debian: python3 and python3-venv)"
        install_packages python3 python3-venv
        python=$(find_python) || fail "this Debian's Python is older than 3.11" "Use Debian 12 or newer"
    }
    rm -rf .venv
    "$python" -m venv .venv
}

find_python() {
    local name
    for name in python3.11 python3.12 python3.13 python3; do
        if "$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    return 1
}
