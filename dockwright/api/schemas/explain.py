"""Why the steps of a build ran."""

from __future__ import annotations

from pydantic import BaseModel, Field

from dockwright.api.schemas.builds import StepOut
from dockwright.domain.build import Profile
from dockwright.domain.explanation import CauseName
from dockwright.domain.transitions import Status


class CauseOut(BaseModel):
    """One root cause with all that it made run."""

    service: str
    cause: CauseName
    detail: str | list[str] | None = Field(description="Paths of `files_changed`; else text.")
    first_step: str
    steps: list[str] = Field(description="Names, the first step among them.")
    seconds: float = Field(description="Of all its steps together.")
    advice: str | None = Field(description="What to change so that it costs less.")
    line: int | None = Field(description="Of the first step, in the Dockerfile.")


class ExplainedServiceOut(BaseModel):
    """One image with its steps as they ran."""

    service: str
    image: str
    reused: bool
    seconds: float
    previous_build_id: int | None
    steps: list[StepOut]


class RateOut(BaseModel):
    """How many steps were found in the cache; a FROM is no step."""

    cached: int
    steps: int
    rate: float | None = Field(ge=0, le=1, description="Null where there was no step.")


class ProjectRateOut(RateOut):
    """Of the newest builds of a project."""

    builds: int
    reused: int = Field(description="Images that needed no build at all.")


class CacheOut(BaseModel):
    build: RateOut
    project: ProjectRateOut


class ExplanationOut(BaseModel):
    build_id: int
    previous_build_id: int | None = Field(description="What it is held against; null for a first build.")
    project: str
    status: Status
    profile: Profile
    causes: list[CauseOut] = Field(description="The dearest first; none where nothing ran.")
    services: list[ExplainedServiceOut] = Field(description="None where the build came to no image.")
    cache: CacheOut
