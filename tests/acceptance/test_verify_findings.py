"""What verify finds, and that it names it: each way in which what runs is not what was written."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import Home

Folder = Callable[..., Path]
DOCKERFILE = """\
FROM busybox
WORKDIR /www
COPY . .
COPY --chmod=0755 start.sh /start.sh
EXPOSE 8080
CMD ["/start.sh"]
"""
START = "#!/bin/sh\necho serving pages\nexec httpd -f -p 8080 -h /www\n"
PAGES = {
    "Dockerfile": DOCKERFILE,
    ".dockerignore": "Dockerfile\n.dockerignore\n",
    "index.html": "first",
    "start.sh": START,
}
PROOF_KEYS = {
    *("ok", "revision", "built_revision", "digest_ok", "files_checked", "files_differ", "files_unverifiable"),
    "build_info_ok",
}


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def container_of(home: Home) -> str:
    (one,) = home.containers()
    return str(one["Names"][0]).removeprefix("/")


def found(home: Home, what: Path | str, code: int = 1) -> dict[str, dict[str, Any]]:
    """The findings by their code."""
    answer = home.run("verify", what, "--json", code=code).json
    assert answer["ok"] is (code == 0) and answer.keys() >= PROOF_KEYS
    for finding in answer["findings"]:
        assert finding.keys() == {"severity", "code", "place", "message", "remedy"}
    return {finding["code"]: finding for finding in answer["findings"]}


def test_what_is_right_is_said_with_status_and_last_lines(home: Home, folder: Folder) -> None:
    root = folder("right", PAGES)
    home.build(root)
    answer = home.run("verify", root, "--json").json
    (one,) = answer["instances"]
    assert answer["findings"] == [] and answer["files_checked"] == 3
    assert one["status"]["state"] == "running" and one["status"]["exit_code"] is None
    assert one["status"]["build"] == "1" and one["last_lines"] == ["serving pages"]
    said = home.run("verify", root).stdout
    assert "running, build 1 of " in said and "│ serving pages" in said and "3 of 3 files match" in said


def test_file_changed_in_the_container(home: Home, folder: Folder) -> None:
    root = folder("tamper", PAGES)
    home.build(root)
    docker("exec", container_of(home), "sh", "-c", "echo other > /www/index.html; chmod -x /start.sh; rm /www/start.sh")
    answer = home.run("verify", root, "--json", code=1).json
    assert answer["files_differ"] == ["/start.sh", "/www/index.html", "/www/start.sh"]
    messages = {one["place"].partition(":")[2]: one["message"] for one in answer["findings"]}
    assert "changed inside the container: its content differs" in messages["/www/index.html"]
    assert "its mode is 0644, not 0755" in messages["/start.sh"]
    assert "it is not there" in messages["/www/start.sh"]


def test_old_container_after_a_new_build(home: Home, folder: Folder) -> None:
    root = folder("old", PAGES)
    home.build(root)
    (root / "index.html").write_text("second")
    home.build(root, "--no-deploy")
    finding = found(home, root)["container_old"]
    assert "build 1 of" in finding["message"] and "index.html" in finding["message"]
    assert "build 2" in finding["message"] and "newer" in finding["message"]


@pytest.mark.parametrize("profile", ["prod", "dev"])
def test_old_container_of_the_same_source(home: Home, folder: Folder, profile: str) -> None:
    """It is what was written, and a newer image of the same is there: that is said, and is no failure."""
    root = folder("same", {**PAGES, "Dockerfile": DOCKERFILE + "ARG BUILD_DATE CACHE_BUST\nENV BUILT=$BUILD_DATE\n"})
    home.build(root, "--profile", profile, "--no-cache")
    home.build(root, "--profile", "dev", "--no-deploy")
    finding = found(home, root, code=0)["container_old"]
    assert finding["severity"] == "warning" and "build 2" in finding["message"]


def test_image_that_is_not_the_release_s(home: Home, folder: Folder) -> None:
    """Somebody replaced the container by one of another image, with the same labels."""
    root = folder("swap", PAGES)
    home.build(root)
    name = container_of(home)
    labels = home.engine.container(name)["Config"]["Labels"]  # type: ignore[index]
    docker("commit", name, f"{home.client}/other:1")
    docker("rm", "-f", name)
    flags = [flag for label, value in labels.items() for flag in ("--label", f"{label}={value}")]
    docker("run", "-d", "--name", name, "--restart", "unless-stopped", *flags, f"{home.client}/other:1")
    answer = home.run("verify", root, "--json", code=1).json
    assert not answer["digest_ok"]
    assert "image_differs" in {one["code"] for one in answer["findings"]}


def test_tag_that_means_another_image(home: Home, folder: Folder) -> None:
    root = folder("tag", PAGES)
    image = home.build(root)["services"][0]["image"]
    assert found(home, root, code=0) == {}
    docker("tag", "busybox" if not home.engine.image("localhost/base/busybox") else "localhost/base/busybox", image)
    finding = found(home, root)["tag_differs"]
    assert image in finding["message"] and finding["place"] == image


def test_app_that_ended_is_shown_with_its_last_lines(home: Home, folder: Folder) -> None:
    root = folder("ended", PAGES)
    home.build(root)
    docker("stop", "-t", "1", container_of(home))
    answer = home.run("verify", root, "--json", code=1).json
    (one,) = answer["instances"]
    assert one["status"]["state"] == "exited" and one["last_lines"] == ["serving pages"]
    assert answer["findings"][0]["code"] == "not_running" and answer["files_differ"] == []


def test_container_by_its_name(home: Home, new_home: Callable[[], Home], folder: Folder) -> None:
    root = folder("named", PAGES)
    home.build(root)
    home.run("scale", root.name, "2")
    first, second = sorted(one["Names"][0].removeprefix("/") for one in home.containers())
    docker("exec", second, "sh", "-c", "echo other > /www/index.html")
    assert [one["ok"] for one in home.run("verify", root, "--json", code=1).json["instances"]] == [True, False]
    assert found(home, first, code=0) == {} and "file_changed" in found(home, second)
    assert new_home().fail("verify", first, code=2)["code"] == "not_found", "nobody sees another's"


def test_container_that_was_started_by_hand(home: Home, folder: Folder) -> None:
    root = folder("hand", PAGES)
    image = home.build(root, "--no-deploy")["services"][0]["image"]
    name = f"{home.client}-by-hand"
    docker("run", "-d", "--name", name, image)
    assert found(home, name, code=0) == {}
    (root / "index.html").write_text("second")
    assert "container_old" in found(home, name)


def test_image_without_a_shell(home: Home, folder: Folder) -> None:
    recipe = "FROM busybox AS tools\nFROM scratch\nCOPY --from=tools /bin/busybox /srv/httpd\nCOPY www /www\n"
    recipe += 'EXPOSE 8080\nCMD ["/srv/httpd", "httpd", "-f", "-p", "8080", "-h", "/www"]\n'
    root = folder("bare", {"Dockerfile": recipe, "www/index.html": "first", "www/run.sh": "#!/none\n"})
    (root / "www" / "run.sh").chmod(0o755)
    home.build(root)
    assert found(home, root, code=0) == {}
    page = root.with_name("other.html")
    page.write_text("other")
    docker("cp", str(page), f"{container_of(home)}:/www/index.html")
    assert "/www/index.html was changed inside" in found(home, root)["file_changed"]["message"]


def test_files_behind_links(home: Home, folder: Folder) -> None:
    """The engine hands out a link as a link: what is behind it counts all the same."""
    recipe = (
        "FROM busybox AS made\nRUN echo made > /made\n"
        "FROM busybox\nRUN mkdir -p /real/lib /app && ln -s /real /tools && ln -s ../real/lib /app/lib\n"
        "COPY tool.sh /tools/\nCOPY app/main.py /app/\nCOPY app/lib /app/lib/\nCOPY --from=made /made /tools/made\n"
        'CMD ["sleep", "600"]\nSTOPSIGNAL SIGKILL\n'
    )
    root = folder("links", {"Dockerfile": recipe, "tool.sh": START, "app/main.py": "1", "app/lib/part.py": "2"})
    image = home.build(root, "--no-deploy")["services"][0]["image"]
    name = f"{home.client}-links"
    docker("run", "-d", "--name", name, image)
    answer = home.run("verify", name, "--json").json
    assert (answer["files_checked"], answer["findings"]) == (3, [])
    assert [one["path"] for one in answer["files_unverifiable"]] == ["/tools/made"]
    docker("exec", name, "sh", "-c", "for f in tool.sh lib/part.py made; do echo other > /real/$f; done")
    answer = home.run("verify", name, "--json", code=1).json
    assert answer["files_differ"] == ["/app/lib/part.py", "/real/made", "/tools/tool.sh"]
    assert all("was changed inside the container" in one["message"] for one in answer["findings"])
    docker("exec", name, "sh", "-c", "rm /tools /app/lib; ln -s /tools /tools; echo > /app/lib")
    assert home.run("verify", name, "--json", code=1).json["files_differ"][:2] == ["/app/lib/part.py", "/tools/tool.sh"]


def test_volume_that_hides_what_the_image_holds(home: Home, folder: Folder) -> None:
    recipe = 'FROM busybox\nCOPY . /www\nRUN chmod +x /www/start.sh\nSTOPSIGNAL SIGKILL\nCMD ["sleep", "600"]\n'
    root = folder("hidden", {**PAGES, "Dockerfile": recipe})
    name, volume = f"{home.client}-hidden", f"{home.client}-pages"

    def started() -> None:
        image = home.build(root, "--no-deploy")["services"][0]["image"]
        docker("run", "-d", "--name", name, "-v", f"{volume}:/www", image)

    docker("volume", "create", "--label", f"dev.dockwright.client={home.client}", volume)
    started()
    assert found(home, name, code=0) == {}, "a new volume is filled from the image"
    docker("rm", "-f", name)
    (root / "index.html").write_text("second")
    (root / "new.html").write_text("new")
    started()
    answer = home.run("verify", name, "--json", code=1).json
    assert answer["files_differ"] == ["/www/index.html", "/www/new.html"]
    assert {one["code"] for one in answer["findings"]} == {"file_hidden"}
    assert all(f"the volume {volume}" in one["message"] for one in answer["findings"])
    assert [one["path"] for one in answer["files_unverifiable"]] == ["/www/start.sh"], "a RUN gave it another mode"


def test_owner_and_mode_as_the_dockerfile_says(home: Home, folder: Folder) -> None:
    recipe = (
        "FROM busybox\nRUN echo 'web:x:1500:1600::/:/bin/sh' >> /etc/passwd && echo 'web:x:1600:' >> /etc/group\n"
        "COPY --chown=web:web --chmod=0640 index.html /www/a\nCOPY --chown=1500 index.html /www/b\n"
        "COPY --chown=web index.html /www/c\nCOPY start.sh /start.sh\nRUN chmod +x /start.sh\n"
        'EXPOSE 8080\nCMD ["/start.sh"]\n'
    )
    root = folder("owner", {**PAGES, "Dockerfile": recipe})
    home.build(root)
    answer = home.run("verify", root, "--json").json
    assert [one["path"] for one in answer["files_unverifiable"]] == ["/start.sh"], "a RUN gave it another mode"
    docker("exec", container_of(home), "chown", "7:8", "/www/a", "/www/b", "/www/c")
    findings = home.run("verify", root, "--json", code=1).json["findings"]
    owners = [one["message"].partition("belongs to ")[2] for one in findings]
    assert owners == [
        "7:8, not 1500:1600 (--chown=web:web)",
        "7:8, not 1500:1500 (--chown=1500)",
        "7:8, not 1500:1600 (--chown=web)",
    ]
    docker("exec", container_of(home), "chown", "web:web", "/www/a")
    docker("exec", container_of(home), "chmod", "0644", "/www/a")
    findings = home.run("verify", root, "--json", code=1).json["findings"]
    assert "its mode is 0644, not 0640" in findings[0]["message"]


# --- front ends ----------------------------------------------------------------------------------------------------

FRONT_END = """\
FROM busybox AS bundle
ARG GIT_COMMIT BUILD_DATE CACHE_BUST
WORKDIR /src
COPY src ./
RUN mkdir /dist && cat *.js > /dist/index-a1b2c3d4.js && echo '<script src="index-a1b2c3d4.js">' > /dist/index.html
RUN echo "window.BUILD_INFO = {buildDate: '$BUILD_DATE', gitCommit: '$GIT_COMMIT', cacheBust: '$CACHE_BUST'};" \\
    > /dist/build-info.js
FROM busybox
COPY --from=bundle /dist /www
EXPOSE 8080
CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]
"""


def front_end(folder: Folder) -> Path:
    root = folder("front", {"Dockerfile": FRONT_END, "src/main.js": "first"})
    for command in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "one")):
        git(root, *command)
    return root


def git(root: Path, *command: str) -> None:
    who = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    subprocess.run(["git", "-C", str(root), *who, *command], check=True, timeout=60)


def test_bundle_of_older_sources(home: Home, folder: Folder) -> None:
    root = front_end(folder)
    home.build(root)
    answer = home.run("verify", root, "--json").json
    assert answer["build_info_ok"] is True and answer["findings"] == []
    (root / "src" / "main.js").write_text("second")
    finding = found(home, root)["bundle_stale"]
    assert "src/main.js" in finding["message"] and finding["place"].endswith(":/www")


def test_bundle_replaced_in_the_container(home: Home, folder: Folder) -> None:
    root = front_end(folder)
    home.build(root)
    docker("exec", container_of(home), "sh", "-c", "echo old > /www/index-a1b2c3d4.js; echo more > /www/added.log")
    answer = home.run("verify", root, "--json", code=1).json
    assert answer["files_differ"] == ["/www/index-a1b2c3d4.js"]


def test_bundle_that_names_another_build(home: Home, folder: Folder) -> None:
    """Made outside of the image, before the last commit."""
    script = "window.BUILD_INFO = {\n  buildDate: '2025-09-08T16:32:44Z',\n  gitCommit: 'e8f2dfb',\n};\n"
    root = folder("front", {**PAGES, "build-info.js": script})
    for command in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "one")):
        git(root, *command)
    error = home.build(root, code=1)["error"]
    assert error["code"] == "verification_failed" and "e8f2dfb" in error["message"]
    assert "the bundle is stale" in error["message"]


# --- services that are started together ----------------------------------------------------------------------------

SERVICES = """\
services:
  web:
    build: web
    depends_on: [store]
  api:
    build: {context: ., dockerfile: api/Dockerfile, args: {WORD: quiet}}
  store:
    image: localhost/base/busybox
    command: sleep 600
    stop_grace_period: 1s
"""
API = 'FROM busybox\nARG WORD\nCOPY api/page /page\nRUN echo $WORD > /word\nSTOPSIGNAL KILL\nCMD ["sleep", "600"]\n'


def test_services_of_a_folder(home: Home, folder: Folder) -> None:
    web = {f"web/{path}": text for path, text in PAGES.items()}
    root = folder("shop", {**web, "compose.yaml": SERVICES, "api/Dockerfile": API, "api/page": "first"})
    home.run("up", root)
    try:
        answer = home.run("verify", root, "--json").json
        assert {one["service"]: one["files_checked"] for one in answer["instances"]} == {"api": 1, "store": 0, "web": 3}
        names = {one["service"]: one["name"] for one in answer["instances"]}
        docker("exec", names["web"], "sh", "-c", "echo other > /www/index.html")
        (root / "api" / "page").write_text("second")
        docker("kill", names["store"])
        answer = home.run("verify", root, "--json", code=1).json
        by_service = {one["service"]: {found["code"] for found in one["findings"]} for one in answer["instances"]}
        assert by_service["web"] == {"file_changed"} and by_service["store"] == {"not_running"}
        assert "container_old" in by_service["api"]
        assert found(home, names["web"]).keys() == {"file_changed"}, "one of them by its name"
    finally:
        home.run("down", root)
