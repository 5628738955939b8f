#!/bin/bash
# Starts an isolated builder: the firewall first, then a resolver for RUN steps, then the engine.
#
# DOCKWRIGHT_FORBIDDEN     IPv4 addresses and networks, with commas, that nothing here may reach
# DOCKWRIGHT_MIRRORS       IPv4 addresses that may be reached all the same, on DOCKWRIGHT_MIRROR_PORTS
# DOCKWRIGHT_MIRROR_NAMES  names, with "/", whose addresses may be
# DOCKWRIGHT_CACHE_BYTES   what the build cache may take
# DOCKWRIGHT_SOCKET_GROUP  number of the group that may use the socket
set -euo pipefail

# Chosen from the range for benchmarks of network devices: no Docker network and hardly a mirror lies there.
readonly BRIDGE=198.19.255.1

set_up_firewall() {
    # Without IPv6 there is one way out to watch instead of two.
    if [ -d /proc/sys/net/ipv6 ]; then
        echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
        echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
    fi
    nft --define "forbidden={ $DOCKWRIGHT_FORBIDDEN }" \
        --define "mirrors={ ${DOCKWRIGHT_MIRRORS:-127.0.0.1} }" \
        --define "mirror_ports={ ${DOCKWRIGHT_MIRROR_PORTS:-443} }" \
        --file /etc/dockwright/firewall.nft
}

# With cgroup v2 a group that has processes of its own cannot limit groups below it: RUN steps would have none.
set_up_cgroups() {
    local root=/sys/fs/cgroup pid
    [ -f "$root/cgroup.controllers" ] || return 0
    mkdir -p "$root/init"
    while read -r pid; do
        echo "$pid" >"$root/init/cgroup.procs" || true # it has ended
    done <"$root/cgroup.procs"
    sed 's/[^ ]*/+&/g' "$root/cgroup.controllers" >"$root/cgroup.subtree_control"
}

# A container that was killed leaves these; the numbers in them may be somebody else's now.
remove_leftovers() {
    rm -f /run/docker.pid /run/d/docker.sock /run/docker/containerd/containerd.pid
}

write_configuration() {
    mkdir -p /etc/docker
    cat >/etc/docker/daemon.json <<JSON
{
  "hosts": ["unix:///run/d/docker.sock"],
  "log-level": "warn",
  "group": "${DOCKWRIGHT_SOCKET_GROUP:-0}",
  "storage-driver": "overlay2",
  "bip": "$BRIDGE/24",
  "dns": ["$BRIDGE"],
  "icc": false,
  "userland-proxy": false,
  "builder": {
    "Entitlements": {"network-host": false, "security-insecure": false},
    "gc": {"enabled": true, "defaultKeepStorage": "${DOCKWRIGHT_CACHE_BYTES:-20000000000}"}
  }
}
JSON
}

# The engine's own resolver answers on the loopback address only, where RUN steps cannot ask it.
start_resolver() {
    local options=(--keep-in-foreground --conf-file=/dev/null --no-hosts --resolv-file=/etc/resolv.conf
        --interface=docker0 --except-interface=lo --bind-dynamic --user=root --pid-file=)
    if [ -n "${DOCKWRIGHT_MIRROR_NAMES:-}" ]; then
        options+=("--nftset=/$DOCKWRIGHT_MIRROR_NAMES/4#inet#dockwright#mirrors")
    fi
    dnsmasq "${options[@]}" &
}

# A step's log is kept whole, however long it is.
start_engine() {
    BUILDKIT_STEP_LOG_MAX_SIZE=-1 BUILDKIT_STEP_LOG_MAX_SPEED=-1 dockerd &
}

end() {
    trap '' TERM INT
    # shellcheck disable=SC2046 # a number a word
    kill $(jobs -p) 2>/dev/null || true
    wait
}

trap 'end; exit 0' TERM INT
set_up_firewall
set_up_cgroups
remove_leftovers
write_configuration
start_resolver
start_engine
# One is of no use without the other.
status=0
wait -n || status=$?
end
exit "$status"
