# What the scripts share. Sourced, with the repository as the working directory.

state=${DOCKWRIGHT_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/dockwright}
# Another client of Docker's on the path may lack the plug-ins that the distribution's own has.
PATH=$PATH:/usr/sbin:/sbin
if [ -x /usr/bin/docker ] && ! docker buildx version >/dev/null 2>&1; then PATH=/usr/bin:$PATH; fi

say() { printf '%s\n' "$*" >&2; }

# fail CAUSE REMEDY
fail() {
    say "Setup cannot go on: $1. $2"
    exit 3
}

has() { command -v "$1" >/dev/null; }

is_root() { [ "$(id -u)" = 0 ]; }

can_install() { is_root && has apt-get; }

engine_answers() { has docker && timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
