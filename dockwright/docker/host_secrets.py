"""What a build behind a company's network needs of the host, handed in as build secrets so that no layer keeps it.

A Dockerfile asks for them by id: `ca` is the bundle of certificate authorities, `pip` a pip.conf with the package
indexes that the host uses. One that does not ask is given nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from dockwright.docker import host
from dockwright.settings import Settings

_ASKED = re.compile(r"--mount=(?=\S*type=secret)\S*\bid=([\w.-]+)")


def secrets_for(
    dockerfile_text: str, given: set[str], settings: Settings, folder: Path, *, with_credentials: bool
) -> list[str]:
    """`id=…,src=…` for each of ours that is asked for and that the user has not given; files go below `folder`.

    `with_credentials`: also package indexes whose addresses hold a name or a password.
    """
    asked = set(_ASKED.findall(dockerfile_text)) - given
    found = []
    if "ca" in asked and (bundle := host.ca_bundle(settings)):
        found.append(f"id=ca,src={bundle}")
    if "pip" in asked and (text := host.pip_config(os.environ, with_credentials=with_credentials)):
        path = folder / "pip.conf"
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        found.append(f"id=pip,src={path}")
    return found
