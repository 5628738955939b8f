# The servers that the tests start for themselves, and tools that they call: only their programs are wanted here, no
# service of the machine's.

# package → the program that shows that it is there. Debian keeps PostgreSQL's off the path.
declare -A server_programs=(
    [postgresql]='/usr/lib/postgresql/*/bin/initdb'
    [redis-server]=/usr/bin/redis-server
    [docker-registry]=/usr/bin/docker-registry
    [iproute2]=/usr/bin/ip
    [jq]=/usr/bin/jq
    [libfaketime]=/usr/lib/*/faketime/libfaketimeMT.so.1
)

setup_test_servers() {
    local missing=() package
    for package in "${!server_programs[@]}"; do
        if ! compgen -G "${server_programs[$package]}" >/dev/null; then missing+=("$package"); fi
    done
    if [ ${#missing[@]} = 0 ]; then return; fi
    can_install || fail "the tests need ${missing[*]}" "Install it, or run this as root on Debian"
    make_no_cluster
    if has_systemd; then systemctl mask --quiet "${missing[@]}" 2>/dev/null || true; fi
    install_packages "${missing[@]}"
    if has_systemd; then
        systemctl unmask --quiet "${missing[@]}"
        systemctl disable --quiet "${missing[@]}" 2>/dev/null || true # one of them may have no service
    fi
}

# Debian would make a database cluster and start it.
make_no_cluster() {
    mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/dockwright.conf
}
