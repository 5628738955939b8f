"""Makes base images on the engine where no registry gives them: `dockwright base`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from dockwright.docker import bootstrap, registry
from dockwright.docker.builder_recipe import builder_recipe
from dockwright.docker.engine import Document, Engine
from dockwright.docker.recipes import RECIPES, Recipe
from dockwright.docker.server_recipes import SERVER_RECIPES
from dockwright.errors import Conflict, NotFound
from dockwright.process import Cancel
from dockwright.settings import Settings

OFFICIAL = "debian"
"""An official image: its registry is the one that the bases stand in for."""
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base image as it is on the engine, or could be."""

    name: str
    image: str
    substitutes: tuple[str, ...]
    state: str
    """`missing`, `ready`, or `outdated`: its recipe or this machine's certificates have changed since."""
    size: int
    """In bytes, 0 while missing."""

    def as_dict(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("name", "image", "substitutes", "state", "size")}


def listing(settings: Settings, names: Sequence[str] = ()) -> list[Base]:
    """The bases of these names, or those that applications are built on. Raises `NotFound` where there is no recipe."""
    engine, overlay = Engine(), bootstrap.overlay(settings)
    return [_base(engine, recipe, overlay) for recipe in _recipes(names)]


def are_needed(bases: Sequence[Base]) -> bool:
    """Whether any that was made must be made anew, or all must be because no image registry answers."""
    if any(base.state == "outdated" for base in bases):
        return True
    return any(base.state == "missing" for base in bases) and not registry.is_reachable(OFFICIAL)


def make(settings: Settings, names: Sequence[str], *, force: bool, report: Report, cancel: Cancel) -> list[Base]:
    """Makes those that are missing or outdated, or with `force` all.

    `report` is called with a line for each that is made. Raises `ToolMissing`, `DiskFull`, `BaseImageMissing`.
    """
    engine, overlay = Engine(), bootstrap.overlay(settings)

    def make_one(recipe: Recipe) -> None:
        before = engine.image(recipe.image)
        if force or bootstrap.state(before, recipe, overlay) != "ready":
            cancel.check()
            report(f"Making {recipe.image} from Debian packages …")
            bootstrap.make(settings, engine, recipe, cancel)
            _remove_replaced(engine, before, recipe)

    # dpkg keeps one core busy, so two at a time.
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(make_one, _recipes(names)))
    return listing(settings, names)


def _recipes(names: Sequence[str]) -> list[Recipe]:
    """Without names, those that applications are built on."""
    every = RECIPES | SERVER_RECIPES | {"builder": builder_recipe()}
    for name in names:
        if name not in every:
            raise NotFound(f'There is no base "{name}"', remedy=f"Choose from: {', '.join(every)}")
    return [every[name] for name in names or RECIPES]


def _base(engine: Engine, recipe: Recipe, overlay: dict[str, str]) -> Base:
    found = engine.image(recipe.image)
    return Base(
        name=recipe.name,
        image=recipe.image,
        substitutes=recipe.substitutes,
        state=bootstrap.state(found, recipe, overlay),
        size=found.get("Size", 0) if found else 0,
    )


def _remove_replaced(engine: Engine, before: Document | None, recipe: Recipe) -> None:
    """The image that had the name before, unless it has another name too or a container still runs on it."""
    now = engine.image(recipe.image)
    if before and now and before["Id"] != now["Id"] and set(before.get("RepoTags") or ()) <= {recipe.image}:
        with suppress(Conflict):
            engine.remove_image(before["Id"])
