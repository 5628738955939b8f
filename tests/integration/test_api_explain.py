"""What is kept of builds to explain them and the next ones, on both databases; no build is run here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_caller import Api, Caller

from dockwright.db import build_rows, explanations
from dockwright.db.tables import Build
from dockwright.domain.explanation import Cause, Circumstances, ExplainedStep, Explanation

HERE = Circumstances(builder="shared", engine="e", version="1", front_end=None, args={"A": "1"})
STEPS = (
    ExplainedStep(name="[1/3] FROM busybox", cached=True, seconds=0.0, line=1, index=0),
    ExplainedStep(name="[2/3] COPY . .", cached=False, seconds=0.5, cause="files_changed", detail=["a", "b"], line=2),
    ExplainedStep(name="[3/3] RUN x", cached=True, seconds=0.0, line=3),
)
TOLD = Explanation(
    previous_build_id=None,
    steps=STEPS,
    causes=(Cause(cause="files_changed", detail=["a", "b"], steps=("[2/3] COPY . .",), seconds=0.5, line=2),),
    circumstances=HERE,
)


@pytest.fixture
def ask(api: Api) -> Caller:
    return api.caller("viewer")


def built(
    api: Api, project: int, *, profile: str = "prod", digest: str = "sha256:1", reused: bool = False, kept: bool = True
) -> int:
    """A build as the runner leaves it. `kept`: what its image was made of."""
    service = {
        "service": "app",
        "image": "bot:b1",
        "digest": digest,
        "reused": reused,
        "seconds": 1.0,
        "context_bytes": 1,
        "context_files": 1,
        "steps": [] if reused else [step.as_dict() for step in STEPS],
    }
    with api.state.session() as session:
        row = Build(
            client_id=1, project_id=project, status="succeeded", profile=profile, result={"services": [service]}
        )
        session.add(row)
        session.flush()
        build_id = row.id
    if kept and not reused:
        artifacts = [("plan", "plan-app.json", f'"{build_id}"'), (explanations.KIND, "explanation-app.json", "")]
        artifacts[1] = (*artifacts[1][:2], json.dumps(TOLD.as_dict()))
        build_rows.save_artifacts(api.state.connection, build_id, artifacts)
    return build_id


def last(api: Api, project: int, before: int, profile: str = "prod") -> Any:
    found = explanations.last_built(
        api.state.connection, project_id=project, profile=profile, service="app", before=before
    )
    return found.build_id if isinstance(found, explanations.LastBuilt) else found


def test_an_explanation(api: Api, ask: Caller, project: int) -> None:
    build_id = built(api, project)
    told = ask.get(f"builds/{build_id}/explain")
    assert (told["build_id"], told["previous_build_id"], told["project"]) == (build_id, None, "Bot")
    assert told["causes"] == [
        {
            "service": "app",
            "cause": "files_changed",
            "detail": ["a", "b"],
            "first_step": "[2/3] COPY . .",
            "steps": ["[2/3] COPY . ."],
            "seconds": 0.5,
            "advice": None,
            "line": 2,
        }
    ]
    assert [step["cause"] for step in told["services"][0]["steps"]] == [None, "files_changed", None]
    assert told["cache"]["build"] == {"cached": 1, "steps": 2, "rate": 0.5}
    # The build itself tells of its steps as well.
    assert ask.get(f"builds/{build_id}")["services"][0]["steps"][1]["detail"] == ["a", "b"]
    built(api, project, reused=True)
    again = ask.get(f"builds/{built(api, project)}/explain")
    assert again["cache"]["project"] == {"cached": 2, "steps": 4, "rate": 0.5, "builds": 3, "reused": 1}


def test_a_build_without_an_image(api: Api, ask: Caller, project: int) -> None:
    with api.state.session() as session:
        session.add(row := Build(client_id=1, project_id=project, status="failed", result={"services": []}))
        session.flush()
        build_id = row.id
    told = ask.get(f"builds/{build_id}/explain")
    assert (told["causes"], told["services"], told["cache"]["build"]["rate"]) == ([], [], None)


def test_only_ones_own_builds_are_explained(api: Api, project: int) -> None:
    build_id = built(api, project)
    api.add_client(2)
    api.caller("owner", client_id=2)("GET", f"builds/{build_id}/explain", status=404)


def test_the_build_before_is_of_the_same_profile(api: Api, project: int) -> None:
    first = built(api, project)
    assert last(api, project, first) is None
    built(api, project, profile="dev")
    assert last(api, project, 10**6) == first
    second = built(api, project, digest="sha256:2")
    assert last(api, project, 10**6) == second
    assert last(api, project, second) == first


def test_a_reused_image_is_what_it_was_built_from(api: Api, project: int) -> None:
    first = built(api, project, profile="dev")
    built(api, project, digest="sha256:2")
    built(api, project, reused=True)
    assert last(api, project, 10**6) == first


def test_what_is_not_kept_is_known_to_have_been(api: Api, project: int) -> None:
    assert last(api, project, 10**6) is None
    build_id = built(api, project, kept=False)
    assert last(api, project, 10**6) == build_id
