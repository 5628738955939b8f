"""What most commands begin with."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from dockwright.process import Cancel

if TYPE_CHECKING:
    from dockwright.services.state import State


def open_state() -> State:
    """The state folder that the settings name. Raises `InvalidSetting`."""
    from dockwright import settings
    from dockwright.services.state import State

    return State(settings.load())


def cancel_on_signal(deadline: float | None = None) -> Cancel:
    """Ctrl-C and a request to end only set the cancel: every wait looks at it, so nothing is torn while it is made."""
    cancel = Cancel(deadline)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: cancel.set())
    return cancel
