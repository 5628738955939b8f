# Debian packages, where this machine has them and we may install them.

# install_tools PROGRAM…   each from the package of the same name
install_tools() {
    local missing=() program
    for program in "$@"; do has "$program" || missing+=("$program"); done
    if [ ${#missing[@]} = 0 ]; then return; fi
    can_install || fail "${missing[*]} must be installed first" "Install it, or run this as root on Debian"
    install_packages "${missing[@]}"
}

# install_packages PACKAGE[/RELEASE]…
install_packages() {
    say "Installing $*"
    require_room /var 2000000
    update_lists
    local services=()
    # Without systemd a package may start its service by its old init script. We start what we need ourselves.
    if ! has_systemd; then services=(RUNLEVEL=1); fi
    apt_quietly env "${services[@]}" DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq --yes --no-install-recommends -o Dpkg::Use-Pty=0 "$@" ||
        fail "these packages could not be installed: $*" "See the lines above, and try: apt-get install $*"
}

# Once in a run: the lists of packages are as old as the machine's image.
update_lists() {
    if [ "${lists_updated-}" ]; then return; fi
    apt_quietly apt-get update -qq ||
        fail "the lists of packages could not be fetched" "See the lines above; the machine must reach its Debian mirror"
    lists_updated=1
}

# What apt says is shown only where it fails.
apt_quietly() {
    local output
    output=$("$@" 2>&1 </dev/null) || { say "$output"; return 1; }
}

has_systemd() { [ -d /run/systemd/system ]; }

# require_room FOLDER KILOBYTES
require_room() {
    local free
    free=$(df --output=avail -k "$1" | tail -n 1)
    [ "$free" -ge "$2" ] ||
        fail "only $((free / 1000)) MB are free at $(realpath "$1")" "Free at least $(($2 / 1000)) MB there"
}

# debian_mirror RELEASE   the mirror among this machine's APT sources, in whatever format they are: apt itself reads them.
# Which of them are Debian's it knows after an update.
debian_mirror() {
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v release="$1" '$1 == "Debian" && $3 == release && $4 == "main" { print $2; exit }'
}
