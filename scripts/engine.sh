# The Docker engine with buildx and compose: used as it is found, else installed and started.

# Debian 12's own docker.io has no buildx. Debian 13's needs only the C library that Debian 12 has.
engine_release=trixie

setup_engine() {
    if engine_answers; then
        install_plugins
        return
    fi
    if [ "${DOCKER_HOST-}" ]; then fail "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST" "Start it, or unset DOCKER_HOST"; fi
    if ! has dockerd; then install_engine; fi
    is_root || fail "the Docker engine does not answer this user" \
        'Start it as root, and join its group: sudo usermod -aG docker "$USER", then log in again'
    start_engine
    install_plugins
}

install_engine() {
    can_install || fail "there is no Docker engine" "Install one with buildx and compose, or run this as root on Debian"
    install_from_debian docker.io docker-cli docker-buildx docker-compose containerd
}

install_plugins() {
    local missing=()
    docker buildx version >/dev/null 2>&1 || missing+=(docker-buildx)
    docker compose version >/dev/null 2>&1 || missing+=(docker-compose)
    if [ ${#missing[@]} = 0 ]; then return; fi
    can_install || fail "the Docker plug-in ${missing[*]} is missing" "Install it, or run this as root on Debian"
    install_from_debian "${missing[@]}"
}

# install_from_debian PACKAGE…   from the first release that has them all in versions that work together
install_from_debian() {
    local release
    release=$(. /etc/os-release && echo "${ID-}-${VERSION_CODENAME-}")
    case $release in
    debian-bookworm)
        add_engine_source
        install_packages "${@/%//$engine_release}" iptables
        ;;
    debian-*) install_packages "$@" iptables ;;
    *) fail "this is no Debian, and $* are not installed" "Install Docker Engine with buildx and compose as its makers say" ;;
    esac
}

# A source for this release on the machine's own mirror, at a priority at which nothing else is taken from it.
add_engine_source() {
    local mirror
    update_lists
    if [ "$(debian_mirror $engine_release)" ]; then return; fi
    mirror=$(debian_mirror bookworm)
    [ "$mirror" ] || fail "no Debian mirror is among the APT sources" "Install Docker Engine with buildx and compose by hand"
    cat >/etc/apt/preferences.d/dockwright-$engine_release <<END
Package: *
Pin: release n=$engine_release
Pin-Priority: 100
END
    cat >/etc/apt/sources.list.d/dockwright-$engine_release.sources <<END
Types: deb
URIs: $mirror
Suites: $engine_release
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
    lists_updated=
}

start_engine() {
    say "Starting the Docker engine"
    if has_systemd; then
        systemctl start docker || fail "the Docker engine does not start" "See: journalctl -u docker"
    else
        mkdir -p "$state/engine"
        setsid dockerd >"$state/engine/dockerd.log" 2>&1 </dev/null &
        echo $! >"$state/engine/dockerd.pid"
    fi
    wait_for_engine
}

wait_for_engine() {
    local _
    for _ in $(seq 120); do
        if engine_answers; then return; fi
        if ! has_systemd && ! started_engine >/dev/null; then break; fi
        sleep 0.5
    done
    if has_systemd; then fail "the Docker engine does not answer" "See: journalctl -u docker"; fi
    fail "the Docker engine did not start: $(tail -n 1 "$state/engine/dockerd.log")" "See $state/engine/dockerd.log"
}

# The process id of the engine that setup started, where it still runs. One that has ended has no command line, even
# where nobody has reaped it yet.
started_engine() {
    local pid
    pid=$(cat "$state/engine/dockerd.pid" 2>/dev/null) || return 1
    case $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") in dockerd*) echo "$pid" ;; *) return 1 ;; esac
}
