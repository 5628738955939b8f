from __future__ import annotations

from typing import Any

import pytest

from dockwright.docker.registry import Registry
from dockwright.services.disk import is_ours

OURS = {"dev.dockwright.managed": "true", "dev.dockwright.client": "acme"}
REGISTRY = Registry(url="https://registry.example:5000")


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (OURS, ["acme/shop:b1"], True),
        (OURS, ["somebody/else:1", "acme/shop:b1"], True),
        (OURS, ["registry.example:5000/acme/shop:b1"], True),
        (OURS, None, True),
        (OURS, ["<none>:<none>"], True),
        (OURS, ["somebody/else:1"], False),
        (OURS, ["acme-not/shop:b1"], False),
        ({"dev.dockwright.managed": "true"}, ["localhost/base/python:3.11-slim"], True),
        ({"dev.dockwright.managed": "true"}, ["somebody/on-our-base:1"], False),
        ({"dev.dockwright.managed": "true"}, None, False),
        (None, ["acme/shop:b1"], False),
    ],
)
def test_an_image_is_ours_by_its_name_since_labels_are_inherited(
    labels: dict[str, str] | None, names: list[str] | None, expected: bool
) -> None:
    image: dict[str, Any] = {"Labels": labels, "RepoTags": names}
    assert is_ours(image, REGISTRY) is expected
