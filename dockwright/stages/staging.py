"""How a context reaches BuildKit so that the image always holds the source's bytes.

BuildKit's context sync skips a file whose path, size, mtime and mode it has seen before under the same *base name* of
the context folder. So each project's context is sent under a base name of its own, a link to the real folder: two
projects never share one, and where a file's content changed while its size, mtime and mode did not, the name changes,
and everything is sent again. No file is copied for it. A tree of the build's own (a checkout, a rendered template) is
sent under a name that follows its content: builds of one project at the same time each have another tree.

What is remembered of the last build lies beside the link: the digests of the files, and the question ("these files,
this Dockerfile, these arguments, these bases") with its answer, the manifest's digest. A build that asks the same
question again costs a walk over the folder and neither a parse nor a read.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any

MEMORY_FORMAT = 1
REMEMBERED_CONTENTS = 50


def remove_all(home: Path, client: str, project: str) -> None:
    """All that is remembered of a project that is no more."""
    from shutil import rmtree

    for folder in (home / "contexts").glob(f"{client}.{project}.*"):
        rmtree(folder)


class Staging:
    """One project's service: its folder below `DOCKWRIGHT_HOME/contexts`."""

    def __init__(self, home: Path, client: str, project: str, service: str) -> None:
        # Slugs have no dot: "a-b" and "c" are not "a" and "b-c".
        self._name = f"{client}.{project}.{service}"
        self._folder = home / "contexts" / self._name
        self.memory = self._load()

    @property
    def index_file(self) -> Path:
        return self._folder / "index.json"

    def _load(self) -> dict[str, Any]:
        """What was remembered; a damaged file is as good as none, since everything in it can be found again."""
        try:
            memory = json.loads((self._folder / "memory.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return memory if isinstance(memory, dict) and memory.get("format") == MEMORY_FORMAT else {}

    def remember(self, **facts: Any) -> None:
        """Put beside what is remembered now: another build of the same project may have renewed the name meanwhile."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.memory = {**self._load(), **facts, "format": MEMORY_FORMAT}
            # Written aside and renamed, so that a process that dies here leaves the old memory whole.
            aside = self._folder / f"memory.{os.urandom(4).hex()}"
            aside.write_text(json.dumps(self.memory))
            aside.replace(self._folder / "memory.json")

    def renew_name(self) -> None:
        """From now on BuildKit knows nothing of this context."""
        self.remember(salt=os.urandom(6).hex())

    def link_own(self, root: Path, content: str, folder: Path) -> Path:
        """A tree that is no other build's, under a name that no other content has; `content` is a digest.

        The link lies in the build's own `folder`, where nobody can turn it to another tree before all has been sent.
        """
        path = folder / f"{self._name}-{content[:16]}"
        path.symlink_to(root, target_is_directory=True)
        return path

    def link(self, root: Path) -> Path:
        """A user's folder under its own base name. The link's own name is what BuildKit keeps its knowledge by."""
        if "salt" not in self.memory:
            self.renew_name()
        path = self._folder / f"{self._name}-{self.memory['salt']}"
        with contextlib.suppress(OSError):
            if os.readlink(path) == str(root):
                return path
        aside = self._folder / f"link.{os.urandom(4).hex()}"
        aside.symlink_to(root, target_is_directory=True)
        aside.replace(path)
        return path

    def first_seen(self, content: str, now: str) -> str:
        """When this content was first built: BUILD_DATE of a prod build without Git, so that it spoils no reuse."""
        seen: dict[str, str] = self.memory.get("first_seen", {})
        if content not in seen:
            kept = dict(list(seen.items())[-REMEMBERED_CONTENTS + 1 :])
            self.remember(first_seen={**kept, content: now})
        return self.memory["first_seen"][content]  # type: ignore[no-any-return]
