"""The two profiles, sentence by sentence: what a build is passed, what it takes from the cache, what it leaves."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from commandline import Home, get
from pages import PAGES
from servers import Registry

Folder = Callable[..., Path]
DECLARING = """\
FROM busybox
RUN echo slow > /slow
ARG GIT_COMMIT
ARG BUILD_DATE
ARG CACHE_BUST
RUN mkdir /www && echo "$GIT_COMMIT|$BUILD_DATE|$CACHE_BUST" > /www/told
COPY index.html /www/
EXPOSE 8080
CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]
"""


def git(root: Path, *command: str) -> str:
    who = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    done = subprocess.run(["git", "-C", str(root), *who, *command], check=True, timeout=60, capture_output=True)
    return done.stdout.decode().strip()


def repository(folder: Folder) -> Path:
    root = folder("declaring", {"Dockerfile": DECLARING, ".dockerignore": ".git\n", "index.html": "first"})
    for command in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "one")):
        git(root, *command)
    return root


def told(build: dict[str, Any]) -> list[str]:
    return get(build["deployment_url"], "/told")[1].strip().split("|")


def cached(build: dict[str, Any]) -> list[bool]:
    return [step["cached"] for step in build["services"][0]["steps"] if "FROM" not in step["name"]]


# --- dev -----------------------------------------------------------------------------------------------------------


def test_dev_builds_anew_with_the_clock_and_verifies(home: Home, folder: Folder) -> None:
    root = repository(folder)
    home.build(root)
    before = int(time.time())
    build = home.build(root, "--profile", "dev")
    assert not build["services"][0]["reused"] and not any(cached(build))
    commit, date, bust = told(build)
    assert git(root, "rev-parse", "HEAD").startswith(commit) and len(commit) >= 7
    assert before <= int(bust) <= time.time()
    assert datetime.fromisoformat(date) == datetime.fromtimestamp(int(bust), UTC)
    assert (build["revision"], build["build_date"]) == (git(root, "rev-parse", "HEAD"), date)
    stages = {stage["stage"]: stage["status"] for stage in build["stages"]}
    assert stages["test"] == stages["verify"] == "done" and build["proof"]["ok"]
    assert home.run("verify", root, "--json").json["ok"], "its clock is no reason to call it old"


def test_build_time_and_commit_are_shown(home: Home, folder: Folder) -> None:
    root = repository(folder)
    (root / "index.html").write_text("second")
    said = home.run("build", root, "--profile", "dev", "--until", "build").stdout
    commit = git(root, "rev-parse", "HEAD")[:12]
    assert re.search(rf"^Source    commit {commit} with changes .*, build date \d{{4}}-\d\d-\d\dT[\d:]+Z$", said, re.M)


def test_only_those_that_declare_them_are_passed_them(home: Home, folder: Folder) -> None:
    root = folder("quiet", PAGES)
    image = home.build(root, "--profile", "dev", "--no-deploy")["services"][0]["image"]
    assert "not consumed" not in home.run("logs", "1").stdout
    history = subprocess.run(["docker", "history", "--no-trunc", image], check=True, capture_output=True, text=True)
    assert "CACHE_BUST" not in history.stdout
    labels = home.engine.image(image)["Config"]["Labels"]  # type: ignore[index]
    assert labels["org.opencontainers.image.created"], "the labels carry it without a layer"


def test_dev_builds_on_the_newest_base(home: Home, folder: Folder, registry: Registry) -> None:
    base = f"{registry.address}/box:1"

    def push(word: str) -> None:
        context = folder("base", {"Dockerfile": f"FROM localhost/base/busybox\nRUN echo {word} > /word\n"})
        subprocess.run(["docker", "build", "-q", "-t", base, context], check=True, capture_output=True)
        subprocess.run(["docker", "push", "-q", base], check=True, capture_output=True)

    root = folder("fresh", {"Dockerfile": f"FROM {base}\nCMD cat /word\n"})
    try:
        push("old")
        old = home.engine.image(base)["Id"]  # type: ignore[index]
        home.build(root)
        push("new")
        home.engine.remove_image(base)
        home.engine.tag_image(old, base)
        assert home.build(root)["services"][0]["reused"], "prod takes the base that is here"
        image = home.build(root, "--profile", "dev")["services"][0]["image"]
        shown = subprocess.run(["docker", "run", "--rm", image], check=True, capture_output=True, text=True)
        assert shown.stdout == "new\n"
    finally:
        for one in home.engine.images():
            if base in (one["RepoTags"] or ()):
                home.engine.remove_image(one["Id"], force=True)


def test_dev_leaves_no_image_behind_under_one_tag(home: Home, folder: Folder) -> None:
    root = folder("tagged", PAGES)
    for _ in range(3):
        last = home.build(root, "--profile", "dev", "--tag", "latest", "--no-deploy")["services"][0]
    assert [one["Id"] for one in home.engine.images(home.labels(project=root.name))] == [last["digest"]]
    deployed = home.build(root, "--profile", "dev", "--tag", "latest")["services"][0]
    last = home.build(root, "--profile", "dev", "--tag", "latest", "--no-deploy")["services"][0]
    left = {one["Id"] for one in home.engine.images(home.labels(project=root.name))}
    assert left == {deployed["digest"], last["digest"]}, "what a container runs stays, its tag gone or not"


def test_dev_keeps_an_image_that_a_product_is_to_run(home: Home, folder: Folder) -> None:
    root = folder("wanted", PAGES)
    first = home.build(root, "--profile", "dev", "--no-deploy")["services"][0]
    home.rows(
        "INSERT INTO products (client_id, name, slug, port, replicas, env_vars, image_id, status, created_at)"
        " VALUES (1, 'shop', 'shop', 29999, 1, '{}', 1, 'stopped', '2025-01-01 00:00:00')"
    )
    home.build(root, "--profile", "dev", "--no-deploy")
    assert home.engine.image(first["image"]) is not None


def test_the_image_before_stays_until_the_new_one_is_good(home: Home, folder: Folder) -> None:
    root = folder("sick", PAGES)
    first = home.build(root, "--profile", "dev", "--no-deploy")["services"][0]
    recipe = PAGES["Dockerfile"] + "HEALTHCHECK --interval=1s --retries=2 --timeout=1s CMD false\n"
    (root / "Dockerfile").write_text(recipe)
    assert home.build(root, "--profile", "dev", "--no-deploy", code=1)["error"]["stage"] == "test"
    assert home.engine.image(first["image"]) is not None


# --- prod ----------------------------------------------------------------------------------------------------------


def test_prod_busts_the_cache_only_when_the_source_changed(home: Home, folder: Folder) -> None:
    root = repository(folder)
    first = home.build(root)
    commit, date, bust = told(first)
    assert datetime.fromisoformat(date).timestamp() == int(git(root, "show", "-s", "--format=%ct"))
    (root / "index.html").touch()
    again = home.build(root)
    assert again["services"][0]["reused"] and told(again) == [commit, date, bust]

    (root / "index.html").write_text("second")
    git(root, "commit", "-q", "-am", "two")
    second = home.build(root)
    assert cached(second) == [True, False, False], "what stands above the arguments stays cached"
    assert told(second)[0] != commit and told(second)[2] != bust
    assert (second["revision"], second["proof"]["build_info_ok"]) == (git(root, "rev-parse", "HEAD"), None)


def test_prod_without_git_keeps_its_date_while_the_source_stays(home: Home, folder: Folder) -> None:
    root = folder("plain", {"Dockerfile": DECLARING, "index.html": "first"})
    first = home.build(root)
    commit, date, bust = told(first)
    assert commit == "" and first["revision"] is None
    time.sleep(1.1)
    assert told(home.build(root, "--no-cache")) == ["", date, bust]
    (root / "index.html").write_text("second")
    _, later, other = told(home.build(root))
    assert later > date and other != bust


# --- a front end's own arguments -----------------------------------------------------------------------------------


FRONT_END = """\
FROM busybox
ARG VITE_API_URL=http://nowhere
ARG VITE_LIVEKIT_URL
WORKDIR /www
RUN echo "$VITE_API_URL|$VITE_LIVEKIT_URL" > told
EXPOSE 8080
CMD ["httpd", "-f", "-p", "8080"]
"""


def test_arguments_of_a_front_end(home: Home, folder: Folder) -> None:
    root = folder("front", {"Dockerfile": FRONT_END})
    here = {"VITE_API_URL": "https://here", "VITE_LIVEKIT_URL": "wss://here"}
    assert told(home.build(root, env=here)) == ["http://nowhere", ""], "the environment is not asked by itself"
    given = ("--build-arg", "VITE_API_URL=https://api?a=b", "--build-arg", "VITE_LIVEKIT_URL")
    assert told(home.build(root, *given, env=here)) == ["https://api?a=b", "wss://here"]
    assert told(home.build(root, *given)) == ["https://api?a=b", ""], "what is not set is not passed"
    home.rows("UPDATE projects SET build = ?", json.dumps({"args": {"VITE_API_URL": "https://project"}}))
    assert told(home.build(root)) == ["https://project", ""]
    assert told(home.build(root, "--build-arg", "VITE_API_URL=x")) == ["x", ""], "the command's own wins"
    assert home.run("verify", root, "--json").json["ok"]
