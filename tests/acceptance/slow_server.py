"""`dockwright …` whose pipeline stays in one stage for a while, after it has done its work and before it has ended.

    python slow_server.py STAGE SECONDS serve --port 8700

The stage itself is the real one: what a crash meets there is what it would meet anyhow, only that it can be timed. The
variable JOURNAL_PATIENCE_SECONDS is how long its builds wait for a database that is away.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from dockwright import pipeline
from dockwright.cli import main
from dockwright.db import journal
from dockwright.pipeline import Outcome, Stage
from dockwright.stages.context import StageContext


def slowed(stage: Stage, seconds: float) -> Stage:
    def run(ctx: StageContext, so_far: Outcome) -> None:
        stage.run(ctx, so_far)
        ctx.cancel.sleep(seconds)

    def only_wait(ctx: StageContext, so_far: Outcome) -> None:
        ctx.cancel.sleep(seconds)

    # Skipped where there is no scanner; it is gone through here all the same, to be killed in.
    if stage.name == "scan":
        return replace(stage, run=only_wait, skip=lambda ctx, so_far: None)
    return replace(stage, run=run)


if __name__ == "__main__":
    _, name, seconds, *sys.argv[1:] = sys.argv
    journal.PATIENCE_SECONDS = float(os.environ.get("JOURNAL_PATIENCE_SECONDS", journal.PATIENCE_SECONDS))
    pipeline.STAGES = tuple(slowed(one, float(seconds)) if one.name == name else one for one in pipeline.STAGES)
    main.main()
