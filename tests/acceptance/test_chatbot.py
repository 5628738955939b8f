"""The chatbot template from `dockwright new` to a running assistant whose records survive what comes after."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import commandline
import pytest
import yaml
from commandline import Home
from servers import free_port

SESSION = "0123456789abcdef"
HOSTILE = "a\"'`$HOME ${HOME} $(id) {{ 7*7 }} {% if %} {# #} \\ \\n \n \0 \u202e \u2028 \"\"\" ''' </script> #"
TRAINING = [
    {"question": "What are your opening hours?", "answer": "We are open Monday to Friday, 9 to 17."},
    {"question": "zebra", "answer": HOSTILE},
]
DESKS = {
    "customer_support": ("I want to speak to a human", "/tickets"),
    "sales_assistant": ("We need a chatbot, our budget is 5000 euros", "/leads"),
    "project_management": ("Create a task to write the report", "/tasks"),
}


def ask(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=30)) as connection:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def get(url: str, path: str) -> Any:
    status, text = ask(url, "GET", path)
    assert status == 200, text
    return json.loads(text)


def say(url: str, message: str) -> dict[str, Any]:
    status, text = ask(url, "POST", "/chat", {"message": message, "session_id": SESSION})
    assert status == 200, text
    answer: dict[str, Any] = json.loads(text)
    return answer


@pytest.fixture
def new_assistant(home: Home, tmp_path: Path) -> Callable[..., str]:
    """Makes a project and returns its name, which is no other test's."""

    def make(assistant_type: str, name: str = "", **variables: Any) -> str:
        values = tmp_path / f"{secrets.token_hex(3)}.json"
        values.write_text(json.dumps({"assistant_type": assistant_type, "training_data": TRAINING, **variables}))
        project = name or f"bot {secrets.token_hex(3)}"
        home.run("new", "chatbot", project, "--values", values)
        return project

    return make


@pytest.mark.parametrize("assistant_type", ["general", *DESKS])
def test_each_type_is_built_tested_deployed_and_verified(
    home: Home, new_assistant: Callable[..., str], assistant_type: str
) -> None:
    built = home.build(new_assistant(assistant_type))
    assert built["status"] == "deployed"
    assert {stage["stage"]: stage["status"] for stage in built["stages"]}["verify"] == "done"
    url = built["deployment_url"]
    assert get(url, "/health")["status"] == "healthy"
    info = get(url, "/build/info")
    assert list(info) == ["build_date", "git_commit", "cache_bust", "python_version", "container_started", "status"]
    assert info["build_date"] == built["build_date"] and info["python_version"].startswith("3.")
    script = commandline.get(url, "/build-info.js")[1]
    told = json.loads(script.removeprefix("window.BUILD_INFO = ").rstrip().removesuffix(";"))
    assert list(told) == ["buildDate", "gitCommit", "cacheBust", "buildTimestamp"]
    assert (told["buildDate"], told["cacheBust"]) == (info["build_date"], info["cache_bust"])
    assert built["proof"]["build_info_ok"] is True, "verify has asked both"
    assert say(url, "When are you open?")["reply"].startswith("We are open Monday to Friday")
    if assistant_type in DESKS:
        message, path = DESKS[assistant_type]
        [record] = say(url, message)["records"]
        assert get(url, path)["items"] == [record]


def test_hostile_text_comes_out_of_the_container_as_it_went_in(home: Home, new_assistant: Callable[..., str]) -> None:
    personality = {"tone": HOSTILE, "style": HOSTILE, "system_prompt": HOSTILE}
    endpoint = {"name": HOSTILE, "url": "https://crm.example/'\"$x", "description": HOSTILE}
    name = new_assistant(
        "general",
        f"bot {secrets.token_hex(3)} \"'$HOME {{{{ 7 }}}} \\ #",
        personality=personality,
        business_rules=[HOSTILE],
        api_endpoints=[endpoint],
    )
    [slug] = [row["slug"] for row in home.rows("SELECT slug FROM projects")]
    url = home.build(slug)["deployment_url"]
    assert say(url, "zebra")["reply"] == HOSTILE
    config = get(url, "/config")
    assert config["name"] == name
    assert config["personality"] == {"tone": HOSTILE, "style": HOSTILE}


def test_records_survive_a_redeploy_and_a_rollback(home: Home, new_assistant: Callable[..., str]) -> None:
    project = new_assistant("customer_support")
    first = home.build(project)
    url = first["deployment_url"]
    ticket = say(url, "I want to speak to a human")["records"][0]["id"]
    [product] = [row["slug"] for row in home.rows("SELECT slug FROM products")]

    home.run("deploy", product, "--env", "OPENAI_MODEL=other")
    assert get(url, f"/tickets/{ticket}")["status"] == "escalated"
    status, _ = ask(url, "PATCH", f"/tickets/{ticket}", {"status": "in_progress", "assignee": "Ana"})
    assert status == 200

    home.run("rollback", product)
    assert get(url, f"/tickets/{ticket}")["assignee"] == "Ana"
    assert say(url, "What is the status of my ticket?")["reply"].endswith("in progress.")


def test_nothing_changed_is_not_built_again(home: Home, new_assistant: Callable[..., str]) -> None:
    project = new_assistant("general")
    first, second = home.build(project), home.build(project)
    assert not first["services"][0]["reused"]
    assert second["services"][0]["reused"]
    assert first["services"][0]["digest"] == second["services"][0]["digest"]


# --- the image, and the compose file for running it elsewhere ---


@contextmanager
def compose_up(tree: Path, image: str, port: int) -> Iterator[Callable[..., str]]:
    project = f"bot-{secrets.token_hex(3)}"
    environ = {**os.environ, "APP_IMAGE": image, "NGINX_IMAGE": "localhost/base/nginx:latest", "PORT": str(port)}

    def compose(*arguments: str) -> str:
        command = ["docker", "compose", "-p", project, "-f", str(tree / "deployment/docker-compose.yml"), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        compose("up", "--detach", "--no-build")
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", "5")


@pytest.fixture
def tree_and_image(home: Home, new_assistant: Callable[..., str], tmp_path: Path) -> tuple[Path, str]:
    """A rendered tree, and the image that was built from the same project."""
    from dockwright.settings import load
    from dockwright.sources.render import render_tree, template_names
    from dockwright.sources.template import load_template
    from dockwright.sources.variables import check_variables

    built = home.build(new_assistant("customer_support", environment_vars=["CRM_KEY"]), "--no-deploy")
    template = load_template("chatbot", load({"DOCKWRIGHT_HOME": str(home.path)}))
    variables = check_variables(template, {"assistant_type": "customer_support", "environment_vars": ["CRM_KEY"]})
    tree = tmp_path / "tree"
    tree.mkdir()
    render_tree(template, template_names(variables, name=HOSTILE, description="", project_id=7), tree)
    return tree, built["services"][0]["image"]


def until_answered(url: str) -> None:
    """nginx listens a moment after its container has started."""
    for _ in range(100):
        try:
            if ask(url, "GET", "/health")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


def test_the_compose_file_runs_the_app_behind_nginx(tree_and_image: tuple[Path, str]) -> None:
    tree, image = tree_and_image
    url = f"http://127.0.0.1:{(port := free_port())}"
    with compose_up(tree, image, port) as compose:
        until_answered(url)
        assert say(url, "I want to speak to a human")["records"][0]["id"] == 1
        status, text = ask(url, "POST", "/chat", {"message": "When are you open?", "stream": True})
        assert status == 200
        assert text.count("event: delta") > 3
        assert "event: done" in text
        assert ask(url, "POST", "/chat", {"message": "x" * 600_000})[0] == 413

        compose("up", "--detach", "--no-build", "--force-recreate", "--no-deps", "--wait", "app")
        until_answered(url)
        assert get(url, "/tickets")["total"] == 1

        container = compose("ps", "--quiet", "app")
        compose("stop", "app")
        assert inspect(container)["State"]["ExitCode"] == 0


def test_the_image_is_small_and_not_root(tree_and_image: tuple[Path, str]) -> None:
    _, image = tree_and_image
    config = inspect(image)["Config"]
    assert config["User"] == "10001:10001"
    assert config["Volumes"] == {"/data": {}}
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Cmd"][0] == "python"
    script = "id -u; ls -A /run/secrets; touch /app/x /data/x; python -m pip"
    command = ["docker", "run", "--rm", "--network=none", image, "sh", "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.split() == ["10001"]
    assert "/app/x" in done.stderr
    assert "/data/x" not in done.stderr
    assert "No module named pip" in done.stderr


def test_a_change_of_the_code_leaves_the_packages_cached(
    home: Home, new_assistant: Callable[..., str], tree_and_image: tuple[Path, str]
) -> None:
    """The image above was just built; another project with other training data takes its packages from the cache."""
    other = home.build(new_assistant("sales_assistant"), "--no-deploy")
    steps = {step["name"]: step["cached"] for step in other["services"][0]["steps"]}
    assert [cached for name, cached in steps.items() if "pip --python" in name] == [True]
    assert [cached for name, cached in steps.items() if "COPY config" in name] == [False]


def inspect(name: str) -> Any:
    done = subprocess.run(["docker", "inspect", name], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)[0]


def test_the_compose_file_names_what_the_app_needs(tree_and_image: tuple[Path, str]) -> None:
    tree, _ = tree_and_image
    compose = yaml.safe_load((tree / "deployment/docker-compose.yml").read_text(encoding="utf-8"))
    assert "CRM_KEY" in compose["services"]["app"]["environment"]
    assert compose["services"]["nginx"]["depends_on"] == {"app": {"condition": "service_healthy"}}
