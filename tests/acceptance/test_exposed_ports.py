"""An image that exposes several ports is deployed on one at which its app listens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from commandline import Home, get
from pages import PAGES

Folder = Callable[..., Path]

BOTH = """\
FROM busybox
WORKDIR /www
COPY . .
EXPOSE 7001 8080
CMD ["sh", "-c", "httpd -p 8080; sleep 0.3; httpd -f -p 7001 -h /www/low"]
"""


def test_port_on_which_nobody_listens_is_passed_over(home: Home, folder: Folder) -> None:
    dockerfile = PAGES["Dockerfile"].replace("EXPOSE 8080", "EXPOSE 7001 8080 9443")
    root = folder("several", {**PAGES, "Dockerfile": dockerfile})
    build = home.build(root)
    assert get(build["deployment_url"]) == (200, "first")
    assert build["test"]["images"][0]["port"] == 8080
    # The image is known by that port from now on, whoever deploys it.
    home.run("deploy", build["project"], "--image", build["services"][0]["image"], "--env", "A=1")
    assert get(build["deployment_url"]) == (200, "first")


def test_lowest_port_is_taken_although_another_was_quicker(home: Home, folder: Folder) -> None:
    root = folder("both", {**PAGES, "Dockerfile": BOTH, "low/index.html": "lowest"})
    assert get(home.build(root)["deployment_url"]) == (200, "lowest")
