"""The word of what the builder was last sent under a context's name: the index file, and it says nothing else.

What changes without its size, mtime and mode is found by that word (`insight.index.suspicious`), so it must never tell
of a tree that the builder has not seen, nor of one older than it has. Writing it takes as long as a fifth of the
planning, and goes on beside the build: so the old word is gone before the builder starts, and whoever is killed on
the way leaves none. Without one everything is sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dockwright.domain.plan import Sent

if TYPE_CHECKING:
    from dockwright.insight.index import Index


@dataclass(frozen=True, slots=True)
class Sending:
    file: Path
    before: Index | None
    """What the builder was sent last; none where that is not known."""
    now: Index
    """What it is sent this time."""

    def begin(self) -> None:
        """Before the builder starts."""
        if self._has_news:
            self.file.unlink(missing_ok=True)

    def note(self) -> None:
        """Beside the build."""
        if self._has_news:
            _save(self.now, self.file)

    def end(self, sent: Sent) -> None:
        """After `note`, whatever became of the build."""
        if not self._has_news or sent == "all":
            return
        if sent == "nothing" and self.before is not None:
            _save(self.before, self.file)
        else:
            self.file.unlink(missing_ok=True)

    @property
    def _has_news(self) -> bool:
        return self.now is not self.before


def _save(index: Index, file: Path) -> None:
    from dockwright.insight.index import save

    save(index, file)
