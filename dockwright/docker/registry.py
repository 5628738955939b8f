"""Image registries: whether one answers, and images brought from it to the engine."""

from __future__ import annotations

from dockwright import process
from dockwright.docker.engine import Engine
from dockwright.errors import BaseImageMissing, RegistryUnreachable
from dockwright.process import Cancel

ANSWER_SECONDS = 5.0
DEFAULT_REGISTRY = "docker.io"
"""What a name without a registry means; where that is, the engine knows."""


def host_of(ref: str) -> str:
    """The registry in an image's name: `docker.io` of `python:3.11`, `localhost:5000` of `localhost:5000/x`."""
    first, slash, _ = ref.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return first if is_host else DEFAULT_REGISTRY


def is_reachable(ref: str) -> bool:
    """Whether the image's registry answers at all; a refusal (401) is an answer too."""
    import http.client
    import urllib.error
    import urllib.parse
    import urllib.request

    host = host_of(ref)
    if host == DEFAULT_REGISTRY:
        host = urllib.parse.urlsplit(Engine().info()["IndexServerAddress"]).netloc
    scheme = "http" if host.split(":")[0] in {"localhost", "127.0.0.1"} else "https"
    try:
        urllib.request.urlopen(f"{scheme}://{host}/v2/", timeout=ANSWER_SECONDS).close()  # noqa: S310 - http or https
    except urllib.error.HTTPError:
        return True
    except (OSError, http.client.HTTPException, ValueError):  # nobody there, no HTTP, or no name that a host can have
        return False
    return True


def pull(ref: str, cancel: Cancel) -> None:
    """Brings an image to the engine, with the credentials of `docker login`.

    Raises `RegistryUnreachable` where nobody answers, `BaseImageMissing` where the registry does not have it.
    """
    docker = process.which("docker", remedy="Install Docker's command line (Debian: docker-cli)")
    done = process.run([docker, "pull", "--quiet", "--", ref], cancel=cancel)
    if done.returncode == 0:
        return
    lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    if is_reachable(ref):
        raise BaseImageMissing(
            f"The base image {ref} cannot be had from {host_of(ref)}",
            remedy="Check its name and tag, and whether it needs: docker login",
            last_lines=lines[-3:],
        )
    raise RegistryUnreachable(
        f"The base image {ref} is not on the engine, and its registry {host_of(ref)} does not answer",
        remedy='Make local base images with "dockwright base", or load it with: docker load',
        last_lines=lines[-3:],
    )
