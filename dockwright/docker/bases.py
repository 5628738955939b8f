"""Which image on the engine stands for which image that a Dockerfile names, where no image registry can be reached.

Pure and light: every build's plan asks. How the stand-ins are made is in `docker/recipes.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dockwright.errors import InvalidSetting

_HUB_PREFIX = re.compile(r"^(?:(?:index\.|registry-1\.)?docker\.io/)?(?:library/)?")


def substitute_for(ref: str, substitutes: Mapping[str, str]) -> str | None:
    """The image that stands for `ref` as a Dockerfile names it, or none. `substitutes`: pattern → image.

    In a pattern `*` is any text without "/" and "@", and a pattern without a tag is for all tags: `python:*` stands
    for `python`, `python:3.12-slim` and `docker.io/library/python:3`, not for `python:3.12@sha256:…`, which means those
    very bytes. The longest pattern that fits wins.

    >>> substitute_for("docker.io/library/python:3.12", {"python:*": "localhost/base/python:3.11-slim"})
    'localhost/base/python:3.11-slim'
    """
    name = _normal(ref, default_tag="latest")
    fitting = [pattern for pattern in substitutes if _fits(name, pattern)]
    return substitutes[max(fitting, key=len)] if fitting else None


def _fits(name: str, pattern: str) -> bool:
    literals = map(re.escape, _normal(pattern, default_tag="*").split("*"))
    return re.fullmatch("[^/@]*".join(literals), name) is not None


def _normal(ref: str, *, default_tag: str) -> str:
    """Without what Docker Hub's own names may leave out, and with a tag or a digest.

    >>> _normal("docker.io/library/node", default_tag="latest")
    'node:latest'
    """
    name = _HUB_PREFIX.sub("", ref.strip())
    last_part = name.rpartition("/")[2]
    return name if ":" in last_part or "@" in last_part else f"{name}:{default_tag}"


def parse_substitutes(setting: str) -> dict[str, str]:
    """IMAGE_SUBSTITUTES, `python:*=localhost/base/python:3.11-slim,…`, as pattern → image. Raises `InvalidSetting`."""
    substitutes = {}
    for entry in filter(None, map(str.strip, setting.split(","))):
        pattern, equals, image = map(str.strip, entry.partition("="))
        if not (equals and _PATTERN.fullmatch(pattern) and _IMAGE.fullmatch(image)):
            raise InvalidSetting(
                f"IMAGE_SUBSTITUTES: {entry!r} is not PATTERN=IMAGE",
                remedy="Write it like python:*=localhost/base/python:3.11-slim, with commas between several",
            )
        substitutes[pattern] = image
    return substitutes


_PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9*._/:@-]*")
_IMAGE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._/:@-]*")
