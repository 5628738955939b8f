"""How the base images for networks without a registry are made: data, and the commands as pure functions of it.

`mmdebstrap` makes a small Debian system as a tar file and `docker import` makes an image of that. A substitute behaves
like the official image that it stands for: the same programs in the same places, the same user, environment, entry
point and command. So a Dockerfile that nobody here wrote builds on it unchanged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

SUITE = "bookworm"
"""The Debian release of the bases: the one with Python 3.11 and Node 18."""

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_BUNDLE_VARIABLES = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One base image."""

    name: str
    image: str
    """Name and tag on the engine."""
    substitutes: tuple[str, ...]
    """Patterns of the images that it stands for, as `bases.substitute_for` takes them."""
    packages: tuple[str, ...]
    variant: str = "minbase"
    """Of mmdebstrap: `minbase` is a Debian, `extract` these packages' files and nothing else."""
    setup: str = ""
    """Shell commands that root runs in the new system."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Absolute path → text. Executable where it begins with `#!`."""
    env: Mapping[str, str] = field(default_factory=dict)
    suite: str = SUITE
    """The Debian release."""
    changes: tuple[str, ...] = ()
    """Dockerfile instructions for the image's configuration: CMD, ENTRYPOINT, EXPOSE, STOPSIGNAL."""


# The official image has its own Python below /usr/local, and Dockerfiles rely on it: they copy
# /usr/local/lib/python3.11/site-packages from one target to the next and write "#!/usr/local/bin/python".
_PYTHON_SETUP = """
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
mkdir -p /usr/local/lib/python3.11/site-packages
rmdir /usr/local/lib/python3.11/dist-packages
ln -s site-packages /usr/local/lib/python3.11/dist-packages
for name in python python3 python3.11; do ln -s /usr/bin/python3.11 /usr/local/bin/$name; done
for name in pip pip3 pip3.11; do sed '1s|.*|#!/usr/local/bin/python|' /usr/bin/pip3 >/usr/local/bin/$name; done
chmod 755 /usr/local/bin/pip*
"""

_NODE_SETUP = """
useradd --uid 1000 --user-group --create-home --shell /bin/bash node
ln -s /usr/bin/node /usr/local/bin/node
"""

_NODE_ENTRY = """#!/bin/sh
# A word that is no command is a script or an option for node: docker run IMAGE app.js
if [ "${1#-}" != "$1" ] || ! command -v "$1" >/dev/null || { [ -f "$1" ] && [ ! -x "$1" ]; }; then
    set -- node "$@"
fi
exec "$@"
"""

# Dockerfiles that run nginx as another user give that user /var/cache/nginx: the temporary files move there.
_NGINX_SETUP = """
groupadd --system --gid 101 nginx
useradd --system --uid 101 --gid nginx --home-dir /var/cache/nginx --no-create-home --shell /usr/sbin/nologin nginx
rm -rf /etc/nginx/sites-available /etc/nginx/sites-enabled
rm -rf /var/lib/nginx
mkdir -p /var/cache/nginx /docker-entrypoint.d
ln -s ../cache/nginx /var/lib/nginx
ln -sf /dev/stdout /var/log/nginx/access.log
ln -sf /dev/stderr /var/log/nginx/error.log
"""

_NGINX_CONF = """user nginx;
worker_processes auto;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log notice;
include /etc/nginx/modules-enabled/*.conf;

events {
    worker_connections 1024;
}

http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    log_format main '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
                    '"$http_referer" "$http_user_agent" "$http_x_forwarded_for"';
    access_log /var/log/nginx/access.log main;
    sendfile on;
    keepalive_timeout 65;
    include /etc/nginx/conf.d/*.conf;
}
"""

_NGINX_SITE = """server {
    listen 80;
    server_name localhost;
    root /usr/share/nginx/html;
    index index.html index.htm;
    error_page 500 502 503 504 /50x.html;
}
"""

_NGINX_PAGE = "<!doctype html>\n<title>nginx</title>\n<h1>Welcome to nginx!</h1>\n<p>It works.</p>\n"
_NGINX_ERROR_PAGE = (
    "<!doctype html>\n<title>Error</title>\n<h1>An error occurred.</h1>\n<p>Please try again later.</p>\n"
)

# What the official image does before nginx starts: variables into templates, then the scripts that were added.
_NGINX_ENTRY = """#!/bin/sh
set -e
case "$1" in nginx | nginx-debug)
    for template in /etc/nginx/templates/*.template; do
        [ -f "$template" ] || continue
        variables=$(env | sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/${\\1}/p' | tr '\\n' ' ')
        file=${template##*/}
        envsubst "$variables" <"$template" >"/etc/nginx/conf.d/${file%.template}"
    done
    for script in /docker-entrypoint.d/*.sh; do
        if [ -x "$script" ]; then "$script"; fi
    done
    ;;
esac
exec "$@"
"""

_BUSYBOX_SETUP = """
rm -rf /usr/share/initramfs-tools /usr/share/lintian /usr/share/man
mkdir -p /tmp /root /home /var/tmp /dev /proc /sys
chmod 1777 /tmp /var/tmp
chmod 700 /root
"""

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="debian",
            image="localhost/base/debian:bookworm-slim",
            substitutes=("debian:*",),
            packages=("ca-certificates",),
            changes=('CMD ["bash"]',),
        ),
        Recipe(
            name="python",
            image="localhost/base/python:3.11-slim",
            substitutes=("python:*",),
            # The headers are in the official image too: whoever adds gcc can build what has no wheel.
            packages=("python3", "python3-pip", "python3-venv", "python3-dev", "ca-certificates", "netbase", "tzdata"),
            setup=_PYTHON_SETUP,
            env={"LANG": "C.UTF-8", "PYTHON_VERSION": "3.11.2", "PIP_BREAK_SYSTEM_PACKAGES": "1"},
            changes=('CMD ["python3"]',),
        ),
        Recipe(
            name="node",
            image="localhost/base/node:18",
            substitutes=("node:*",),
            packages=("nodejs", "npm", "ca-certificates"),
            setup=_NODE_SETUP,
            files={"/usr/local/bin/docker-entrypoint.sh": _NODE_ENTRY},
            env={"NODE_VERSION": "18.20.4"},
            changes=('ENTRYPOINT ["docker-entrypoint.sh"]', 'CMD ["node"]'),
        ),
        Recipe(
            name="nginx",
            image="localhost/base/nginx:latest",
            substitutes=("nginx:*",),
            packages=("nginx", "gettext-base", "ca-certificates", "curl"),
            setup=_NGINX_SETUP,
            files={
                "/etc/nginx/nginx.conf": _NGINX_CONF,
                "/etc/nginx/conf.d/default.conf": _NGINX_SITE,
                "/usr/share/nginx/html/index.html": _NGINX_PAGE,
                "/usr/share/nginx/html/50x.html": _NGINX_ERROR_PAGE,
                "/docker-entrypoint.sh": _NGINX_ENTRY,
            },
            env={"NGINX_VERSION": "1.22.1"},
            changes=(
                'ENTRYPOINT ["/docker-entrypoint.sh"]',
                "EXPOSE 80",
                "STOPSIGNAL SIGQUIT",
                'CMD ["nginx", "-g", "daemon off;"]',
            ),
        ),
        Recipe(
            name="busybox",
            image="localhost/base/busybox:latest",
            substitutes=("busybox:*",),
            packages=("busybox-static",),
            variant="extract",
            setup=_BUSYBOX_SETUP,
            files={
                "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
                "/etc/group": "root:x:0:\nnogroup:x:65534:\n",
            },
            changes=('CMD ["sh"]',),
        ),
    )
}

# The text is the same for every base, so nothing of the machine's or a user's becomes a word of a shell: what differs
# comes in by the environment. The files of apt and the host that mmdebstrap leaves behind do not belong in an image.
HOOK = """set -e
cp -RT --preserve=mode "$DOCKWRIGHT_OVERLAY" "$1"
if [ -x "$1/usr/sbin/update-ca-certificates" ]; then chroot "$1" update-ca-certificates >/dev/null; fi
if [ -x "$1/bin/busybox" ]; then chroot "$1" /bin/busybox --install -s /bin; fi
chroot "$1" /bin/sh -ec "$DOCKWRIGHT_SETUP"
cp "$DOCKWRIGHT_BUNDLE" "$1/etc/ssl/certs/ca-certificates.crt"
rm -f "$1/etc/hostname" "$1/etc/apt/sources.list.d/0000debian.sources"
: >"$1/etc/resolv.conf"
"""
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/lib/python3*/config-*/*.a")


def bootstrap_command(recipe: Recipe, *, tar: Path, sources: Path, apt_options: Sequence[str]) -> list[str]:
    """mmdebstrap's arguments. `sources` is a file in apt's own format; `apt_options` lines of an apt.conf."""
    return [
        "mmdebstrap",
        "--mode=root",
        f"--variant={recipe.variant}",
        f"--include={','.join(recipe.packages)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        *(f"--aptopt={option}" for option in apt_options),
        f"--{'extract' if recipe.variant == 'extract' else 'customize'}-hook={HOOK}",
        recipe.suite,
        str(tar),
        str(sources),
    ]


def import_command(recipe: Recipe, tar: Path, digest: str) -> list[str]:
    """docker's arguments. `digest` is what `digest_of` gave: it tells later whether the image is still the same."""
    labels = {
        "dev.dockwright.managed": "true",
        "dev.dockwright.base": recipe.name,
        "dev.dockwright.substitutes": ",".join(recipe.substitutes),
        "dev.dockwright.recipe": digest,
    }
    env = {"PATH": _PATH, **dict.fromkeys(_BUNDLE_VARIABLES, BUNDLE), **recipe.env}
    changes = [f"LABEL {name}={json.dumps(value)}" for name, value in labels.items()]
    changes += [f"ENV {name}={json.dumps(value)}" for name, value in env.items()]
    changes += recipe.changes
    return ["docker", "import", *(f"--change={change}" for change in changes), str(tar), recipe.image]


def digest_of(recipe: Recipe, overlay: Mapping[str, str]) -> str:
    """SHA-256 of all that decides what a base is, but for the versions of its packages. `overlay`: path → text."""
    # The usual suite is left out: it was no part of a recipe when the first bases were made.
    facts = {name: value for name, value in asdict(recipe).items() if (name, value) != ("suite", SUITE)}
    everything = json.dumps([facts, HOOK, _LEFT_OUT, _BUNDLE_VARIABLES, dict(overlay)], sort_keys=True)
    return hashlib.sha256(everything.encode()).hexdigest()
