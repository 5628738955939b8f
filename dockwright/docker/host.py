"""What a build must know of this machine to reach packages as the machine itself does: certificates and mirrors.

Only what is remote counts: a container cannot see the machine's own folders.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from dockwright import process
from dockwright.errors import ToolMissing
from dockwright.settings import Settings

BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
DEBIAN_RELEASES = ("bookworm", "trixie", "bullseye", "forky", "sid", "stable", "testing", "oldstable", "unstable")
"""Names of Debian's own: a mirror that has one of them has the others too. Ubuntu and the like have other names."""

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_PIP_OPTIONS = ("index-url", "extra-index-url", "find-links", "trusted-host")
_APT_OPTION = re.compile(
    r'Acquire::(?:(?:http|https)::(?:Proxy|Verify-Peer|CaInfo)|Check-Valid-Until|Check-Date|Retries) "[^"]+";', re.I
)


def ca_bundle(settings: Settings) -> Path | None:
    """The file with the authorities that this machine trusts: CA_BUNDLE, SSL_CERT_FILE, else the system's own."""
    if settings.ca_bundle is not None:
        return settings.ca_bundle
    places = (os.environ.get("SSL_CERT_FILE"), *BUNDLES)
    return next((Path(place) for place in places if place and Path(place).is_file()), None)


def own_authorities(bundle: str, known: Iterable[str]) -> list[str]:
    """The PEM certificates in `bundle` that are in none of the texts `known`: the company's own."""
    seen = {_compact(pem) for text in known for pem in _CERTIFICATE.findall(text)}
    return [pem for pem in _CERTIFICATE.findall(bundle) if _compact(pem) not in seen]


def _compact(pem: str) -> str:
    return "".join(pem.split())


def distribution_authorities() -> Iterator[str]:
    """The texts of the certificates that come with the distribution."""
    for path in sorted(Path("/usr/share/ca-certificates").rglob("*.crt")):
        yield path.read_text(encoding="ascii", errors="replace")


# --- pip and npm ------------------------------------------------------------------------------------------------


def pip_config(environ: Mapping[str, str], *, with_credentials: bool) -> str | None:
    """A pip.conf with the machine's package indexes, as far as they are remote; none where it has pip's defaults.

    An address that holds a user name or a password is left out unless `with_credentials`: it may become a build secret
    and never part of an image.
    """
    lines = []
    for option, value in _pip_options(environ).items():
        words = [word for word in value.split() if option == "trusted-host" or _is_remote(word)]
        words = [word for word in words if with_credentials or "@" not in word]
        if words:
            lines.append(f"{option} = {' '.join(words)}")
    return "\n".join(["[global]", *lines, ""]) if lines else None


def _pip_options(environ: Mapping[str, str]) -> dict[str, str]:
    """As pip reads them: files from the widest to the nearest, then the environment."""
    import configparser

    home = Path(environ.get("HOME", "/"))
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf"
    places: list[str | Path] = [
        "/etc/xdg/pip/pip.conf",
        "/etc/pip.conf",
        home / ".pip/pip.conf",
        user,
        Path(sys.prefix) / "pip.conf",
    ]
    places += [environ["PIP_CONFIG_FILE"]] if environ.get("PIP_CONFIG_FILE") else []
    found: dict[str, str] = {}
    for place in places:
        parser = configparser.RawConfigParser(strict=False)
        parser.read(place, encoding="utf-8")
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {option: value for option, value in parser.items(section) if option in _PIP_OPTIONS}
    for option in _PIP_OPTIONS:
        if value := environ.get("PIP_" + option.upper().replace("-", "_")):
            found[option] = value
    return found


def npm_config(environ: Mapping[str, str]) -> str | None:
    """An npmrc that names the machine's registry, where it has one of its own that needs no credentials."""
    registry = None
    for file in (Path("/etc/npmrc"), Path(environ.get("HOME", "/")) / ".npmrc"):
        if file.is_file():
            found = re.findall(r"(?m)^\s*registry\s*=\s*(\S+)", file.read_text(encoding="utf-8", errors="replace"))
            registry = found[-1] if found else registry
    registry = environ.get("NPM_CONFIG_REGISTRY") or environ.get("npm_config_registry") or registry
    return f"registry={registry}\n" if registry and _is_remote(registry) and "@" not in registry else None


def _is_remote(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.hostname not in {"localhost", "127.0.0.1", "::1", None}


# --- Debian -----------------------------------------------------------------------------------------------------


def debian_sources(suite: str) -> str:
    """APT sources of Debian's `suite` on the mirrors that this machine uses itself. Raises `ToolMissing`."""
    remedy = "Make base images on a Debian machine, or load the real ones with: docker load"
    apt = process.which("apt-get", remedy=remedy)
    wanted = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    listed = process.run([apt, "indextargets", "--format", wanted, "Created-By: Packages"])
    mirrors = mirrors_in(listed.stdout.decode(errors="replace"))
    if mirrors is None:
        raise ToolMissing(
            f"No Debian mirror is among this machine's APT sources, so {suite} cannot be had", remedy=remedy
        )
    return sources_text(suite, *mirrors)


def mirrors_in(listing: str) -> tuple[str, str | None] | None:
    """(mirror, security mirror) in the output of `apt-get indextargets`; none where there is no Debian in it.

    Before the first `apt-get update` a source has no origin, and its release alone tells that it is Debian's.
    """
    rows = [row for line in listing.splitlines() if len(row := line.split("|")) == 4]
    debian = [row for row in rows if row[0] == "Debian"] or [row for row in rows if not row[0] or "$" in row[0]]
    remote = [(uri, release) for _, uri, release, component in debian if component == "main" and _is_remote(uri)]
    security = {f"{release}{ending}" for release in DEBIAN_RELEASES for ending in ("-security", "/updates")}
    main = next((uri for uri, release in remote if release in DEBIAN_RELEASES), None)
    return (main, next((uri for uri, release in remote if release in security), None)) if main else None


def sources_text(suite: str, mirror: str, security: str | None) -> str:
    """In the format of `debian.sources`.

    >>> print(sources_text("bookworm", "http://mirror.example/debian", None))
    Types: deb
    URIs: http://mirror.example/debian
    Suites: bookworm bookworm-updates
    Components: main
    Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
    <BLANKLINE>
    """
    blocks = [(mirror, f"{suite} {suite}-updates")]
    blocks += [(security, f"{suite}-security")] if security else []
    ending = "Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    return "\n".join(f"Types: deb\nURIs: {uri}\nSuites: {suites}\n{ending}" for uri, suites in blocks)


def apt_options() -> list[str]:
    """The lines of this machine's apt.conf on which reaching its mirrors depends: proxy, authority, dates."""
    dumped = process.run(["apt-config", "dump", "Acquire"]).stdout.decode(errors="replace")
    return [line for line in dumped.splitlines() if _APT_OPTION.fullmatch(line) and "@" not in line]
