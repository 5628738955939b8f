"""How large a source may be, and that nothing in it leads out of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from dockwright.errors import SourceTooLarge, UnsafeSource

MAX_FILES = 500_000
MAX_BYTES = 20 * 10**9
MAX_ARCHIVE_BYTES = 2 * 10**9
"""Of an archive that is uploaded, as it is sent."""
MAX_EXPANSION = 200
"""How many bytes one byte of an archive may become: text becomes 5 to 20, a run of zeros 1,000."""
FREE_EXPANSION = 10**6
"""So many bytes may come of any archive: a short one of a few zeros harms nobody."""


def check_size(files: int, size: int, what: str) -> None:
    if files > MAX_FILES or size > MAX_BYTES:
        raise SourceTooLarge(
            f"{what} holds {files:,} files of {size / 1e9:.1f} GB: over {MAX_FILES:,} or {MAX_BYTES / 1e9:.0f} GB",
            remedy="Leave out what the image does not need: name it in a .dockerignore",
        )


def check_links(root: Path, links: Iterable[str]) -> None:
    """`links`: paths of symbolic links below `root`. One whose target lies outside is refused."""
    for link in links:
        target = os.readlink(root / link)
        landed = os.path.normpath(os.path.join(os.path.dirname(link), target))
        if target.startswith("/") or landed == ".." or landed.startswith("../"):
            raise UnsafeSource(
                f"The link {link} leads out of the source, to {target}",
                remedy="Replace it with what it points at, or name it in .dockerignore",
            )


def check_own(root: Path, file: Path) -> None:
    """Of a file that is read for the build itself, whether it is sent to the builder or not."""
    if not file.resolve().is_relative_to(root.resolve()):
        raise UnsafeSource(
            f"{file.name} leads out of the source, to {file.resolve()}", remedy="Put a copy of it into the source"
        )


def inside(root: Path, folder: str) -> Path:
    """The folder below `root` that the user named. Raises `UnsafeSource` for one that is not there or not below it."""
    path = (root / folder).resolve()
    if not path.is_relative_to(root.resolve()):
        raise UnsafeSource(
            f"The folder {folder} lies outside the source", remedy="Name a folder below the repository's root"
        )
    if not path.is_dir():
        raise UnsafeSource(
            f"The source has no folder {folder}", remedy="Check the spelling, and the ref it should be in"
        )
    return path
