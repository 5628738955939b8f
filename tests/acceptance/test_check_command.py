"""`dockwright check` beside a real engine, compose plug-in and, where there is none, no registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from commandline import Home, has_registry

NOWHERE = "127.0.0.1:9/nobody/has-this:1"
Folder = Callable[..., Path]


def codes(home: Home, root: Path, code: int | None = None) -> dict[str, str]:
    """Code → place."""
    return {one["code"]: one["place"] for one in home.run("check", root, "--json", code=code).json["findings"]}


def test_a_base_image_that_can_be_had_nowhere_is_an_error(home: Home, folder: Folder) -> None:
    root = folder("nobase", {"Dockerfile": f"FROM busybox\nCOPY --from={NOWHERE} /a /a\n"})
    answer = home.run("check", root, "--json", code=1).json
    finding = next(one for one in answer["findings"] if one["code"] == "base_missing")
    assert not answer["ok"] and finding["severity"] == "error" and finding["place"] == "Dockerfile:2"
    assert "dockwright base" in finding["remedy"]
    assert set(finding) == {"severity", "code", "place", "message", "remedy"}


def test_bases_that_are_here_or_have_a_substitute_are_none(home: Home, folder: Folder) -> None:
    assert home.run(
        "check", folder("base", {"Dockerfile": "FROM python:3.12-slim\nFROM busybox:1.36\n"}), "--json"
    ).json["ok"]


def test_what_the_base_image_sets_is_known(home: Home, folder: Folder) -> None:
    """Its ports, its user, its environment."""
    dockerfile = "FROM busybox\nENV PORT_OF=base\nEXPOSE 7000\nUSER 1000\nHEALTHCHECK CMD true\nWORKDIR /srv\n"
    base = home.run("build", folder("base", {"Dockerfile": dockerfile}), "--until", "build", "--json").json
    image = base["services"][0]["image"]
    text = f'FROM {image}\nWORKDIR app\nENV A=$PORT_OF\nCMD ["nginx"]\n'
    found = codes(home, folder("child", {"Dockerfile": text}))
    assert not {"runs_as_root", "no_healthcheck", "port_not_exposed", "workdir_relative"} & found.keys()
    assert "variable_undeclared" not in found
    unset = folder("unset", {"Dockerfile": f"FROM {image}\nENV A=$PORT_OFF\n"})
    assert codes(home, unset)["variable_undeclared"] == "Dockerfile:2"


def test_what_compose_itself_refuses_is_told(home: Home, folder: Folder) -> None:
    root = folder("compose", {"compose.yaml": "services:\n  a:\n    image: busybox\n    no_such_key: 1\n"})
    answer = home.run("check", root, code=1)
    assert "compose_invalid" in answer.stdout and "no_such_key" in answer.stdout


def test_what_compose_and_arguments_put_in_the_place_of_an_image_is_no_missing_base(home: Home, folder: Folder) -> None:
    compose = "include: [db.yaml]\nservices:\n  a:\n    depends_on: [db]\n    build:\n      context: .\n"
    compose += "      additional_contexts: {mine: ./other}\n"
    files = {"compose.yaml": compose, "db.yaml": "services:\n  db: {image: busybox}\n", "other/f": "x"}
    root = folder("contexts", {**files, "Dockerfile": "ARG BASE\nFROM ${BASE}\nCOPY --from=mine /f /\n"})
    answer = home.run("check", root, "--json").json
    assert answer["ok"] and "arg_without_value" in {one["code"] for one in answer["findings"]}
    assert home.run("check", root, "--json", "--build-arg", "BASE=busybox").json["ok"]
    missing = home.run("check", root, "--json", "--build-arg", f"BASE={NOWHERE}", code=1).json["findings"]
    assert [(one["code"], one["place"]) for one in missing if one["severity"] == "error"] == [
        ("base_missing", "Dockerfile:2")
    ]


def test_people_see_marks_remedies_and_a_sum(home: Home, folder: Folder) -> None:
    root = folder("people", {"Dockerfile": "FROM busybox\nCOPY no.txt /\nCMD a b\n"})
    said = home.run("check", root, code=1).stdout
    assert "✘ Dockerfile:2  COPY takes in no.txt" in said and "! Dockerfile:3" in said
    assert "1 error, " in said and "Sent to the builder from the folder" in said


def test_an_engine_that_does_not_answer_is_no_fault_of_the_folder(home: Home, folder: Folder) -> None:
    root = folder("engine", {"Dockerfile": f"FROM {NOWHERE}\n"})
    answer = home.run("check", root, "--json", env={"DOCKER_HOST": f"unix://{home.path}/none.sock"}).json
    assert answer["ok"] and "base_unchecked" in {one["code"] for one in answer["findings"]}


def test_nothing_is_kept(home: Home, folder: Folder) -> None:
    home.run("check", folder("kept", {"Dockerfile": "FROM busybox\n"}))
    assert list(home.path.iterdir()) == [], "no database, no folder"


def test_pip_is_asked_for_what_packages_need_themselves(home: Home, folder: Folder) -> None:
    """The first of Flask 2 needs Werkzeug 2; without being asked, nothing is fetched and nothing is said."""
    files = {"Dockerfile": "FROM python:3.11-slim\n", "requirements.txt": "flask==2.3.0\nwerkzeug==1.0.1\n"}
    root = folder("packages", files)
    assert "requirements_conflict" not in codes(home, root, code=0)
    answer = home.run("check", root, "--resolve", "--json", code=1).json
    (finding,) = [one for one in answer["findings"] if one["code"] == "requirements_conflict"]
    assert "flask" in finding["message"].lower() and "werkzeug" in finding["message"].lower()
    (root / "requirements.txt").write_text("itsdangerous==2.2.0\n")
    assert home.run("check", root, "--resolve", "--json").json["ok"]


def test_a_registry_that_answers_is_enough(home: Home, folder: Folder) -> None:
    """Whether it has the image is for the build to see; without one, a stand-in decides."""
    found = codes(home, folder("pulled", {"Dockerfile": "FROM no-stand-in-has-this-name:1\n"}))
    assert ("base_missing" in found) is not has_registry()
