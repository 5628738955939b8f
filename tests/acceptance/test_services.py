"""Folders with a compose file: every service's image, built in one go, each with its own reuse."""

from __future__ import annotations

import io
import os
import secrets
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import Home

Folder = Callable[..., Path]
APP = 'FROM busybox\nARG WORD=none\nCOPY . /app\nRUN echo "$WORD" > /word\nCMD ["sleep", "600"]\n'
COMPOSE = """\
services:
  web:
    build:
      context: ./web
      args: {WORD: 'a $${HOME} %{x} $$x "q"'}
      additional_contexts: {shared: ./shared}
    depends_on: {api: {condition: service_healthy}}
  api:
    build: &app {context: ./app, args: {WORD: "${WORD:-plain}"}}
    image: example.org/app:1
    depends_on: [cache]
  worker:
    build: *app
  beat:
    image: example.org/app:1
  cache:
    image: redis:7
"""
FILES = {
    "compose.yaml": COMPOSE,
    "app/Dockerfile": APP,
    "app/main.txt": "main",
    "web/Dockerfile": APP.replace("COPY . /app", "COPY --from=shared . /shared\nCOPY . /app"),
    "web/index.html": "first",
    "shared/words.txt": "shared words",
}


def services(document: Any) -> dict[str, Any]:
    return {one["service"]: one for one in document["services"]}


def cat(image: str, path: str) -> str:
    """Out of a container that is never started: how a busy engine hands on what a short one says is not asked."""
    container = _docker("create", "--network=none", image, "none").decode().strip()
    try:
        archive = _docker("cp", f"{container}:{path}", "-")
    finally:
        _docker("rm", container)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        content = tar.extractfile(tar.next() or pytest.fail(f"{path} is not in {image}"))
        return content.read().decode() if content else pytest.fail(f"{path} is no file")


def _docker(*words: str) -> bytes:
    return subprocess.run(["docker", *words], check=True, capture_output=True).stdout


def test_all_services_are_built_and_shared_images_once(home: Home, folder: Folder) -> None:
    document = home.build(folder("shop", FILES))
    assert document["status"] == "succeeded"
    found = services(document)
    assert list(found) == ["api", "beat", "web", "worker"], "an entry a service that is built, redis is none"
    assert len({found[name]["digest"] for name in ("api", "beat", "worker")}) == 1
    assert len(home.rows("SELECT * FROM docker_images")) == 2
    assert [step["name"] for step in found["api"]["steps"]][:2] == [
        "[1/3] COPY . /app",
        '[2/3] RUN echo "plain" > /word',
    ]
    assert all(step["cached"] or step["cause"] == "first_build" for one in found.values() for step in one["steps"])
    states = {stage["stage"]: (stage["status"], stage.get("reason")) for stage in document["stages"]}
    assert states["test"][0] == states["deploy"][0] == "skipped"
    assert "dockwright up" in states["deploy"][1]
    web = found["web"]["image"]
    assert cat(web, "/word") == 'a ${HOME} %{x} $x "q"\n'
    assert cat(web, "/shared/words.txt") == "shared words"
    labels = home.engine.image(web)["Config"]["Labels"]
    assert labels["dev.dockwright.client"] == home.client and labels["dev.dockwright.build"] == str(
        document["build_id"]
    )
    home.assert_nothing_left()


def test_each_service_has_its_own_reuse(home: Home, folder: Folder) -> None:
    root = folder("reuse", FILES)
    home.build(root)
    assert {name: one["reused"] for name, one in services(home.build(root)).items()} == dict.fromkeys(
        ("api", "beat", "web", "worker"), True
    )
    (root / "web/index.html").write_text("secnd")
    found = services(home.build(root))
    assert found["api"]["reused"] and not found["web"]["reused"]
    assert cat(found["web"]["image"], "/app/index.html") == "secnd"
    # A named context counts as well, and so does a variable of the compose file.
    (root / "shared/words.txt").write_text("others words")
    found = services(home.build(root))
    assert found["api"]["reused"] and not found["web"]["reused"]
    assert cat(found["web"]["image"], "/shared/words.txt") == "others words"
    found = services(home.build(root, env={"WORD": "another"}))
    assert not found["api"]["reused"] and found["web"]["reused"]
    assert cat(found["worker"]["image"], "/word") == "another\n"
    # And both at once go through the builder together.
    (root / "web/index.html").write_text("third")
    (root / "app/main.txt").write_text("other")
    found = services(home.build(root))
    assert not found["api"]["reused"] and not found["web"]["reused"]
    assert (cat(found["api"]["image"], "/app/main.txt"), cat(found["web"]["image"], "/app/index.html")) == (
        "other",
        "third",
    )


def test_same_size_and_time_in_two_services_and_a_named_context(home: Home, folder: Folder) -> None:
    """What BuildKit takes for the same file, because size and time are, is not."""
    root = folder("bytes", FILES)
    for text in ("one", "two"):
        for path in ("web/index.html", "shared/words.txt", "app/main.txt"):
            (root / path).write_text(f"{text} of {path}")
            os.utime(root / path, ns=(10**18, 10**18))
        found = services(home.build(root))
        assert cat(found["web"]["image"], "/app/index.html") == f"{text} of web/index.html"
        assert cat(found["web"]["image"], "/shared/words.txt") == f"{text} of shared/words.txt"
        assert cat(found["api"]["image"], "/app/main.txt") == f"{text} of app/main.txt"


def test_one_service_alone(home: Home, folder: Folder) -> None:
    root = folder("alone", FILES)
    document = home.build(root, "--service", "web")
    assert list(services(document)) == ["web"]
    worker = services(home.build(root, "--service", "worker"))
    assert list(worker) == ["api", "beat", "worker"], "all that run its image"
    error = home.fail("build", root, "--service", "wbe", code=2)
    assert error["code"] == "not_found" and "wbe" in error["message"] and "web" in error["remedy"]
    error = home.fail("build", root, "--service", "cache", code=1)
    assert error["code"] == "compose_file_wrong" and "dockwright up" in error["remedy"]


def test_failing_step_names_its_service(home: Home, folder: Folder) -> None:
    broken = {**FILES, "web/Dockerfile": "FROM busybox\nCOPY . /\nRUN echo about to fail >&2; exit 9\n"}
    root = folder("broken", broken)
    error = home.fail("build", root, code=1)
    assert (error["code"], error["exit_code"]) == ("step_failed", 9)
    assert error["message"].startswith("Service web: ") and error["step"].startswith("[web ")
    assert error["last_lines"] == ["about to fail"]
    assert home.rows("SELECT * FROM docker_images") == [], "no image of a build that failed"
    home.assert_nothing_left()


def test_output_of_a_step_that_two_services_share_is_told_once(home: Home, folder: Folder) -> None:
    mark = secrets.token_hex(4)  # no step of an earlier run is this one
    common = f"RUN for n in 1 2 3; do echo {mark} $n; sleep 0.2; done"
    recipe = "FROM busybox AS base\n{}\nFROM base\nRUN echo {} {}\n"
    files = {f"{name}/Dockerfile": recipe.format(common, mark, name) for name in ("one", "two")}
    files["compose.yaml"] = "services:\n  one: {build: one}\n  two: {build: two}\n"
    document = home.build(folder("common", files))
    events = home.run("logs", str(document["build_id"]), "--json").lines
    lines = [event["text"] for event in events if event["kind"] == "log" and event["text"].startswith(mark)]
    assert sorted(lines) == sorted(f"{mark} {word}" for word in ("1", "2", "3", "one", "two"))
    for one in document["services"]:
        assert [step["name"].partition("] ")[2] for step in one["steps"]][-2:] == [
            common,
            f"RUN echo {mark} {one['service']}",
        ]


def test_secrets_of_the_compose_file_reach_the_build_and_no_layer(home: Home, folder: Folder) -> None:
    recipe = "FROM busybox\nRUN --mount=type=secret,id={0} wc -c < /run/secrets/{0} > /size\n"
    files = {
        "compose.yaml": """\
services:
  a: {build: {context: a, secrets: [token]}}
  b: {build: {context: b, secrets: [key]}}
secrets:
  token: {file: ./token.txt}
  key: {environment: THE_KEY}
""",
        "a/Dockerfile": recipe.format("token"),
        "b/Dockerfile": recipe.format("key"),
        "token.txt": "squeamish-ossifrage",
    }
    found = services(home.build(folder("secret", files), env={"THE_KEY": "xyzzy"}))
    assert (cat(found["a"]["image"], "/size"), cat(found["b"]["image"], "/size")) == ("19\n", "5\n")


def test_image_built_on_another_services_image(home: Home, folder: Folder) -> None:
    files = {
        "compose.yaml": "services:\n  zbase: {build: zbase}\n  app:\n    build:\n      context: app\n"
        "      additional_contexts: {platform: 'service:zbase'}\n",
        "zbase/Dockerfile": "FROM busybox\nCOPY base.txt /\n",
        "zbase/base.txt": "first",
        "app/Dockerfile": "FROM platform\nRUN cat /base.txt > /seen\n",
    }
    root = folder("stacked", files)
    assert cat(services(home.build(root))["app"]["image"], "/seen") == "first"
    (root / "app/Dockerfile").write_text("FROM platform\nRUN cat /base.txt /base.txt > /seen\n")
    found = services(home.build(root))
    assert found["zbase"]["reused"] and cat(found["app"]["image"], "/seen") == "firstfirst"
    (root / "zbase/base.txt").write_text("second")
    found = services(home.build(root, "--service", "app"))
    assert not found["app"]["reused"] and cat(found["app"]["image"], "/seen") == "secondsecond"


def test_inline_dockerfile_target_and_an_image_elsewhere(home: Home, folder: Folder) -> None:
    files = {
        "compose.yaml": """\
services:
  Tool.1:
    build:
      context: .
      target: first
      additional_contexts: {tools: "docker-image://busybox"}
      labels: {com.example.team: blue}
      dockerfile_inline: |
        FROM tools AS first
        RUN echo "$$0 inline" > /made
        FROM first
        RUN exit 1
  other: {build: {context: ., dockerfile: other.Dockerfile}}
""",
        "other.Dockerfile": "FROM busybox\nRUN echo other > /made\n",
    }
    root = folder("inline", files)
    found = services(home.build(root))
    assert (
        cat(found["Tool.1"]["image"], "/made") == "/bin/sh inline\n"
        and cat(found["other"]["image"], "/made") == "other\n"
    )
    assert home.engine.image(found["Tool.1"]["image"])["Config"]["Labels"]["com.example.team"] == "blue"
    assert all(one["reused"] for one in home.build(root)["services"])


def test_dockerfile_is_built_where_a_folder_has_both(home: Home, folder: Folder) -> None:
    root = folder("both", {**FILES, "Dockerfile": "FROM busybox\nRUN echo of the Dockerfile > /made\n"})
    (one,) = home.build(root)["services"]
    assert one["service"] == "app" and cat(one["image"], "/made") == "of the Dockerfile\n"
    assert list(services(home.build(root, "--service", "web"))) == ["web"]


def test_compose_file_with_one_plain_service_is_deployed(home: Home, folder: Folder) -> None:
    site = 'FROM busybox\nCOPY index.html /www/\nEXPOSE 8080\nCMD ["httpd", "-f", "-p", "8080", "-h", "/www"]\n'
    files = {"compose.yaml": "services: {site: {build: ./site, ports: ['8080']}}\n", "site/Dockerfile": site}
    root = folder("single", {**files, "site/index.html": "alone"})
    document = home.build(root)
    assert document["status"] == "deployed" and list(services(document)) == ["site"]
    assert home.run("verify", root, "--json").json["ok"]
    (root / "compose.yaml").write_text("services: {site: {build: ./site, environment: {A: b}}}\n")
    assert home.build(root)["status"] == "succeeded", "what its environment says is not in the image"


def test_compose_files_that_are_wrong(home: Home, folder: Folder) -> None:
    wrong = {
        "services:\n  a: {build: .\n": "yaml",
        "services: {a: {build: ./nowhere}}\n": "nowhere",
        "services: {a: {build: ., depends_on: [b]}}\n": "b",
        "services: {a: {build: https://example.org/a.git}}\n": "example.org",
        "services: {a: {build: {context: ., additional_contexts: {x: 'service:b'}}}}\n": "b",
        "services: {a: {build: {context: ., secrets: [s]}}}\nsecrets: {s: {external: true}}\n": "s",
    }
    for text, word in wrong.items():
        error = home.fail("build", folder("wrong", {"compose.yaml": text}), code=1)
        assert error["code"] == "compose_file_wrong" and word in error["message"], error
    error = home.fail("build", folder("no-dockerfile", {"compose.yaml": "services: {a: {build: .}}\n"}), code=2)
    assert error["code"] == "no_dockerfile" and "a" in error["message"]


def test_a_compose_file_from_elsewhere_reads_nothing_of_this_machine(home: Home, folder: Folder) -> None:
    private = home.path / "private"
    private.mkdir()
    (private / "Dockerfile").write_text("FROM busybox\n")
    (private / "vars").write_text("STOLEN=squeamish\n")
    (private / "other.yaml").write_text("services: {b: {image: busybox}}\n")
    attempts = (
        f"services: {{a: {{build: {private}}}}}\n",
        f"include: [{{path: inner.yaml, env_file: {private}/vars}}]\nservices: {{}}\n",
        f"include: [{private}/other.yaml]\nservices: {{a: {{build: .}}}}\n",
        f"services: {{a: {{build: ., extends: {{file: {private}/other.yaml, service: b}}}}}}\n",
        f"services: {{a: {{build: ., env_file: {private}/vars}}}}\n",
        f"services: {{a: {{build: {{context: ., secrets: [s]}}}}}}\nsecrets: {{s: {{file: {private}/vars}}}}\n",
        "include: [deeper.yaml]\nservices: {}\n",
    )
    files = {"app.Dockerfile": "", "inner.yaml": "services: {b: {build: {context: ., args: {A: $STOLEN}}}}\n"}
    for text in attempts:
        files |= {"compose.yaml": text, "deeper.yaml": f"include: [{private}/other.yaml]\n"}
        assert home.fail("build", as_git(folder("foreign", files)), code=2)["code"] == "unsafe_source", text
    told = """\
services:
  a: {build: {context: ., dockerfile: d, args: {A: "[${STOLEN:-none}]"}}}
  b: {build: {context: ., dockerfile: d}}
"""
    recipe = "FROM busybox\nARG A\nRUN echo $A > /seen\n"
    document = home.build(as_git(folder("innocent", {"compose.yaml": told, "d": recipe})), env={"STOLEN": "squeamish"})
    assert cat(services(document)["a"]["image"], "/seen") == "[none]\n"


def as_git(root: Path) -> str:
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        names = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", "-C", str(root), *names, *command], check=True)
    return f"file://{root}#main"
