"""Folders with a Dockerfile, and changes to them of which it is known what must run again, and why.

A change is a function of the folder that makes it and returns what is to be told: for each root cause its name, its
detail and a part of the name of its first step. Nothing, where no step may run.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BASE = "localhost/base/busybox:latest"
MOVER = "evaluation/mover:1"
"""A base that the evaluation makes anew, under the same name."""
TRIGGER = "evaluation/trigger:1"
"""A base that leaves instructions for its children."""


@dataclass(frozen=True, slots=True)
class Expected:
    cause: str
    detail: Any
    first: str
    """A part of the first step's name."""
    may_be_cached: bool = False
    """It goes back to what may have been built before: then nothing runs."""


Truth = list[Expected]


@dataclass(slots=True)
class Folder:
    root: Path
    args: dict[str, str] = field(default_factory=dict)
    secret: str = "s0"
    number: int = 0
    """Of the change: no content comes twice."""

    @property
    def dockerfile(self) -> str:
        return (self.root / "Dockerfile").read_text()

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)


Change = Callable[[Folder, random.Random], Truth]


@dataclass(slots=True)
class Sample:
    """One Dockerfile with what it is built from."""

    name: str
    dockerfile: str
    files: dict[str, str]
    changes: dict[str, Change]
    args: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    moves: str = ""
    """A part of the first step behind the base that moves; empty where none does."""
    fails: tuple[str, str] | None = None
    """A file, and a part of the step behind it that fails where the secret says so."""

    def make(self, root: Path) -> Folder:
        folder = Folder(root, dict(self.args))
        # Nobody has built this before, whatever the engine's cache holds.
        salt = os.urandom(4).hex()
        for path, text in {**self.files, "Dockerfile": self.dockerfile.replace("@SALT", salt)}.items():
            folder.write(path, text.replace("@SALT", salt))
        for path, target in self.links.items():
            os.symlink(target, root / path)
        return folder


# --- changes of files ------------------------------------------------------------------------------------------------


def edit(path: str, *firsts: str) -> Change:
    def change(folder: Folder, rng: random.Random) -> Truth:
        folder.write(path, f"content {folder.number} of {path}\n")
        return [Expected("files_changed", [path], first) for first in firsts[:1]]

    return change


def edit_several(paths: list[str], first: str) -> Change:
    def change(folder: Folder, rng: random.Random) -> Truth:
        chosen = sorted(rng.sample(paths, rng.randint(1, len(paths))))
        for path in chosen:
            folder.write(path, f"several {folder.number} {path}\n")
        return [Expected("files_changed", chosen, first)]

    return change


def toggle(path: str, first: str) -> Change:
    """A file that comes, or goes."""

    def change(folder: Folder, rng: random.Random) -> Truth:
        file = folder.root / path
        if file.exists():
            file.unlink()
        else:
            folder.write(path, f"new {folder.number}\n")
        return [Expected("files_changed", [path], first, not file.exists())]

    return change


def rename(one: str, other: str, first: str) -> Change:
    def change(folder: Folder, rng: random.Random) -> Truth:
        old, new = (one, other) if (folder.root / one).exists() else (other, one)
        (folder.root / old).rename(folder.root / new)
        return [Expected("files_changed", sorted([one, other]), first, True)]

    return change


def mode(path: str, first: str) -> Change:
    def change(folder: Folder, rng: random.Random) -> Truth:
        file = folder.root / path
        os.chmod(file, 0o644 if file.stat().st_mode & 0o100 else 0o755)
        return [Expected("files_changed", [path], first, True)]

    return change


def retarget(path: str, first: str) -> Change:
    """A link that leads elsewhere, be it to nothing."""

    def change(folder: Folder, rng: random.Random) -> Truth:
        link = folder.root / path
        link.unlink()
        link.symlink_to(f"other{folder.number}.txt")
        return [Expected("files_changed", [path], first)]

    return change


# --- changes of the Dockerfile and of arguments ----------------------------------------------------------------------


def line(pattern: str, first: str, *, detail: Any = None) -> Change:
    """The number at the end of what `pattern` finds becomes the change's: `pattern` has two groups."""

    def change(folder: Folder, rng: random.Random) -> Truth:
        text = folder.dockerfile
        found = re.search(pattern, text, re.MULTILINE)
        assert found is not None, (pattern, text)
        new = found[1] + str(folder.number) + text[found.end(2) : found.end()]
        folder.write("Dockerfile", text[: found.start()] + new + text[found.end() :])
        old_line, new_line = (_line_at(each, found.start()) for each in (text, folder.dockerfile))
        told = detail(found[0], new) if detail else f"{old_line} → {new_line}"
        return [Expected("instruction_changed", told, first)]

    return change


def _line_at(text: str, place: int) -> str:
    start = text.rfind("\n", 0, place) + 1
    return " ".join(text[start : text.index("\n", place)].split())


def inserted(before: str, instruction: str, first: str) -> Change:
    """An instruction that comes above the line `before`, or goes again; `first` is a part of the step behind it."""

    def change(folder: Folder, rng: random.Random) -> Truth:
        text = folder.dockerfile
        if found := re.search(rf"^{re.escape(instruction)}\d+$", text, re.MULTILINE):
            folder.write("Dockerfile", text.replace(found[0] + "\n", "", 1))
            return [Expected("instruction_changed", f"{found[0]} (removed)", first, True)]
        assert text.count(f"\n{before}") == 1, (before, text)
        new = f"{instruction}{folder.number}"
        folder.write("Dockerfile", text.replace(f"\n{before}", f"\n{new}\n{before}"))
        return [Expected("instruction_changed", f"{new} (new)", new if new.startswith("RUN") else first)]

    return change


def arg(name: str, default: str, first: str) -> Change:
    def change(folder: Folder, rng: random.Random) -> Truth:
        written = re.search(rf"^ARG {name}=(\S+)", folder.dockerfile, re.MULTILINE)
        old = folder.args.get(name, written[1] if written else default)
        folder.args[name] = f"v{folder.number}"
        return [Expected("arg_changed", f"{name}: {old} → {folder.args[name]}", first)]

    return change


def unused_arg(name: str) -> Change:
    def change(folder: Folder, rng: random.Random) -> Truth:
        folder.args[name] = f"v{folder.number}"
        return []

    return change


# --- changes of which no step may run --------------------------------------------------------------------------------


def ignored(path: str) -> Change:
    def change(folder: Folder, rng: random.Random) -> Truth:
        folder.write(path, f"ignored {folder.number}\n")
        return []

    return change


def touched(path: str) -> Change:
    """Another time and the same bytes; and of a folder another mode, which no image's content shows."""

    def change(folder: Folder, rng: random.Random) -> Truth:
        at = 1_000_000_000 + folder.number
        os.utime(folder.root / path, (at, at))
        return []

    return change


def comment(folder: Folder, rng: random.Random) -> Truth:
    folder.write("Dockerfile", folder.dockerfile.rstrip("\n") + f"\n# comment {folder.number}\n")
    return []


def label(folder: Folder, rng: random.Random) -> Truth:
    folder.write("Dockerfile", folder.dockerfile.rstrip("\n") + f"\nLABEL number={folder.number}\n")
    return []


def other_secret(folder: Folder, rng: random.Random) -> Truth:
    """BuildKit runs nothing again for it, and so there is nothing to explain."""
    folder.secret = f"s{folder.number}"
    return []


def both(one: Change, other: Change) -> Change:
    """Two changes at once, of steps that do not rest on each other or have a cause of their own each."""

    def change(folder: Folder, rng: random.Random) -> Truth:
        return [*one(folder, rng), *other(folder, rng)]

    return change


QUIET: dict[str, Change] = {"comment": comment, "label": label}


# --- the samples -----------------------------------------------------------------------------------------------------


def samples() -> list[Sample]:
    return [
        plain(),
        early_arg(),
        two_targets(),
        chain(),
        here_documents(),
        mounts(),
        image_copies(),
        exceptions(),
        environment(),
        kinds_of_copy(),
        diamond(),
        triggers(),
        substituted(),
    ]


def plain() -> Sample:
    return Sample(
        "plain",
        f"""\
FROM {MOVER}
ENV SALT=@SALT
WORKDIR /app
COPY requirements.txt ./
RUN echo install 0 && cat requirements.txt
COPY . .
RUN echo compile 0
ARG GIT_COMMIT=none
LABEL commit=$GIT_COMMIT
CMD ["sh"]
""",
        {
            ".dockerignore": "Dockerfile\n",
            "requirements.txt": "flask\n",
            "main.py": "1\n",
            "lib/a.py": "a\n",
            "lib/b.py": "b\n",
            "lib/x.py": "x\n",
        },
        {
            "edit": edit("main.py", "COPY . ."),
            "requirements": edit("requirements.txt", "COPY requirements.txt"),
            "several": edit_several(["main.py", "lib/a.py", "lib/b.py"], "COPY . ."),
            "toggle": toggle("lib/new.py", "COPY . ."),
            "rename": rename("lib/x.py", "lib/y.py", "COPY . ."),
            "mode": mode("main.py", "COPY . ."),
            "time": touched("lib/a.py"),
            "run": line(r"^(RUN echo install )(\d+)", "RUN echo install"),
            "last run": line(r"^(RUN echo compile )(\d+)", "RUN echo compile"),
            "insert": inserted("RUN echo compile", "RUN echo between ", "RUN echo compile"),
            "metadata arg": unused_arg("GIT_COMMIT"),
            "two": both(edit("main.py", "COPY . ."), line(r"^(RUN echo install )(\d+)", "RUN echo install")),
        },
        moves="WORKDIR /app",
    )


def early_arg() -> Sample:
    return Sample(
        "early-arg",
        f"""\
FROM {BASE}
ENV SALT=@SALT
ARG GIT_COMMIT=none
ARG VERSION=0
COPY requirements.txt /
RUN echo install
WORKDIR /app
COPY src src
ARG LATE
RUN echo build $LATE
""",
        {"requirements.txt": "flask\n", "src/main.py": "1\n", "src/deep/er/x.py": "2\n"},
        {
            "arg": arg("GIT_COMMIT", "none", "RUN echo install"),
            "second arg": arg("VERSION", "0", "RUN echo install"),
            "late arg": arg("LATE", "(unset)", "RUN echo build"),
            "edit": edit("src/deep/er/x.py", "COPY src src"),
            "env": inserted("ARG VERSION", "ENV EXTRA=", "RUN echo install"),
            "arg line": inserted("ARG VERSION", "ARG NEW=", "RUN echo install"),
            "default": _default_of_late(),
        },
    )


def _default_of_late() -> Change:
    """The Dockerfile's own value counts while nobody passes another."""

    def change(folder: Folder, rng: random.Random) -> Truth:
        text = folder.dockerfile
        old = next(each for each in text.splitlines() if each.startswith("ARG LATE"))
        new = f"ARG LATE=d{folder.number}"
        folder.write("Dockerfile", text.replace(old, new))
        if "LATE" in folder.args:
            return []
        return [Expected("instruction_changed", f"{old} → {new}", "RUN echo build")]

    return change


def two_targets() -> Sample:
    return Sample(
        "two-targets",
        f"""\
FROM {BASE} AS web
ENV SALT=@SALT
WORKDIR /web
COPY web/package.json ./
RUN echo npm ci && cat package.json > /web/modules
COPY web ./
RUN echo bundle 0 && cat src.js package.json > /web/out && date > /web/when
FROM {BASE} AS unneeded
COPY notes.md /
FROM {MOVER}
ENV SALT=@SALT
WORKDIR /app
COPY api api
RUN echo api 0
COPY --from=web /web/out static/out
RUN echo finish 0
""",
        {
            "web/package.json": "{}\n",
            "web/src.js": "js\n",
            "api/main.py": "1\n",
            "notes.md": "n\n",
        },
        {
            "front end": edit("web/src.js", "COPY web ./"),
            "package": edit("web/package.json", "COPY web/package.json"),
            "api": edit("api/main.py", "COPY api api"),
            "bundle": line(r"^(RUN echo bundle )(\d+)", "RUN echo bundle"),
            "finish": line(r"^(RUN echo finish )(\d+)", "RUN echo finish"),
            "unneeded": ignored("notes.md"),
            "both": both(edit("web/src.js", "COPY web ./"), edit("api/main.py", "COPY api api")),
        },
        moves="WORKDIR /app",
    )


def chain() -> Sample:
    return Sample(
        "chain",
        """\
ARG TAG=latest
ARG MODE=m0
FROM localhost/base/busybox:$TAG AS common
ENV SALT=@SALT
RUN echo common 0
FROM common AS tests
COPY tests /tests
RUN echo test
FROM common AS build
ARG MODE
COPY src /src
RUN echo build $MODE && cat /src/* > /out
FROM common AS final
COPY --from=build /out /app/out
USER 1000
WORKDIR /app/data
RUN echo final 0
""",
        {"tests/t.py": "t\n", "src/a.c": "a\n", "src/b.c": "b\n"},
        {
            "common": line(r"^(RUN echo common )(\d+)", "RUN echo common"),
            "source": edit("src/a.c", "COPY src /src"),
            "tests": ignored("tests/t.py"),
            "arg from above": arg("MODE", "m0", "RUN echo build"),
            "user": line(r"^(USER 1)(\d+)", "WORKDIR /app/data"),
            "final": line(r"^(RUN echo final )(\d+)", "RUN echo final"),
        },
    )


def here_documents() -> Sample:
    def bodies(old: str, new: str) -> Callable[[str], bool]:
        numbers = [text.rpartition(" ")[2] for text in (old, new)]
        return lambda told: all(each in side for each, side in zip(numbers, told.split(" → "), strict=True))

    return Sample(
        "here-documents",
        f"""\
FROM {BASE}
ENV SALT=@SALT
ARG NAME=nobody
RUN <<EOF
set -e
echo script 0
EOF
COPY <<EOF /about
made for $NAME 0
EOF
COPY <<"EOF" /raw
made for $NAME and 0
EOF
COPY app /app
RUN cat <<EOF > /list
line 0
EOF
""",
        {"app/main.py": "1\n"},
        {
            "script": line(r"^(echo script )(\d+)", "RUN <<EOF", detail=bodies),
            "content": line(r"^(made for \$NAME )(\d+)", "COPY <<EOF", detail=bodies),
            "raw content": line(r"^(made for \$NAME and )(\d+)", "/raw", detail=bodies),
            "list": line(r"^(line )(\d+)", "RUN cat <<EOF", detail=bodies),
            "arg": arg("NAME", "nobody", "RUN <<EOF"),
            "file": edit("app/main.py", "COPY app /app"),
        },
    )


def mounts() -> Sample:
    return Sample(
        "mounts",
        f"""\
FROM {BASE} AS tools
ENV SALT=@SALT
RUN echo tools 0 > /tool
FROM {BASE}
ENV SALT=@SALT
RUN --mount=type=bind,source=scripts,target=/scripts cat /scripts/*.sh
RUN --mount=type=cache,target=/cache,id=evaluation-@SALT echo cached 0 >> /cache/log
RUN --mount=type=bind,from=tools,source=/tool,target=/tool cat /tool
RUN --mount=type=secret,id=token echo secret 0
RUN --mount=type=tmpfs,target=/t --mount=type=bind,source=setup.sh,target=/setup.sh cat /setup.sh
COPY app.py /app.py
RUN --mount=type=secret,id=token ! grep -q fail /run/secrets/token
""",
        {"scripts/a.sh": "a\n", "scripts/b.sh": "b\n", "setup.sh": "s\n", "app.py": "1\n", "other.txt": "o\n"},
        {
            "bind": edit_several(["scripts/a.sh", "scripts/b.sh"], "source=scripts"),
            "bound file": edit("setup.sh", "source=setup.sh"),
            "cache step": line(r"^(RUN --mount=type=cache.* echo cached )(\d+)", "echo cached"),
            "other target": line(r"^(RUN echo tools )(\d+)", "RUN echo tools"),
            "secret": other_secret,
            "copied": edit("app.py", "COPY app.py"),
            "nobody's": ignored("other.txt"),
        },
        fails=("app.py", "grep -q fail"),
    )


def image_copies() -> Sample:
    return Sample(
        "image-copies",
        f"""\
FROM {BASE}
ENV SALT=@SALT
COPY a.txt /a.txt
COPY --from={MOVER} /version /version
RUN --mount=from={MOVER},source=/version,target=/v cat /v && echo 0
COPY b.txt /b.txt
""",
        {"a.txt": "a\n", "b.txt": "b\n"},
        {
            "a": edit("a.txt", "COPY a.txt"),
            "b": edit("b.txt", "COPY b.txt"),
            "mode": mode("a.txt", "COPY a.txt"),
            "insert": inserted("COPY b.txt", "RUN echo inserted ", "COPY b.txt"),
        },
        moves="COPY --from=",
    )


def exceptions() -> Sample:
    return Sample(
        "exceptions",
        f"""\
FROM {BASE}
ENV SALT=@SALT
WORKDIR /app
COPY . .
RUN echo build 0
""",
        {
            ".dockerignore": "*\n!src\n!keep.txt\nsrc/*.log\n!src/wanted.log\n**/tmp\n",
            "keep.txt": "k\n",
            "src/a.py": "a\n",
            "src/debug.log": "d\n",
            "src/wanted.log": "w\n",
            "src/tmp/x": "x\n",
            "README.md": "r\n",
        },
        {
            "kept": edit("keep.txt", "COPY . ."),
            "source": edit("src/a.py", "COPY . ."),
            "excepted": edit("src/wanted.log", "COPY . ."),
            "log": ignored("src/debug.log"),
            "below tmp": ignored("src/tmp/x"),
            "read me": _read_me(),
            "new log": ignored("src/new.log"),
            "rules": _other_rules(),
        },
    )


_RULE = "!README.md\n"


def _read_me() -> Change:
    """It is sent where the rules except it."""

    def change(folder: Folder, rng: random.Random) -> Truth:
        folder.write("README.md", f"read {folder.number}\n")
        is_sent = _RULE in (folder.root / ".dockerignore").read_text()
        return [Expected("files_changed", ["README.md"], "COPY . .")] if is_sent else []

    return change


def _other_rules() -> Change:
    """README.md is sent from now on, or no more."""

    def change(folder: Folder, rng: random.Random) -> Truth:
        rules = (folder.root / ".dockerignore").read_text()
        folder.write(".dockerignore", rules.replace(_RULE, "") if _RULE in rules else rules + _RULE)
        # No content comes twice.
        folder.write("README.md", f"rules {folder.number}\n")
        folder.write("src/a.py", f"rules {folder.number}\n")
        return [Expected("files_changed", ["README.md", "src/a.py"], "COPY . .")]

    return change


def environment() -> Sample:
    return Sample(
        "environment",
        f"""\
FROM {BASE}
ENV SALT=@SALT
COPY first.txt /
ENV HOME_OF=h0 \\
    UNUSED=1
ARG LEVEL=l0
ENV LOG_LEVEL=$LEVEL
COPY config /$HOME_OF/config
WORKDIR /srv/$HOME_OF
SHELL ["/bin/sh", "-ec"]
RUN echo shell 0
ENV LAST=0
COPY last.txt ./
RUN echo done 0
""",
        {"first.txt": "f\n", "config/c.ini": "c\n", "last.txt": "l\n"},
        {
            "first": edit("first.txt", "COPY first.txt"),
            "last": edit("last.txt", "COPY last.txt"),
            "env of the last": line(r"^(ENV LAST=)(\d+)", "RUN echo done"),
            "arg behind an env": arg("LEVEL", "l0", "RUN echo shell"),
            "run": line(r"^(RUN echo done )(\d+)", "RUN echo done"),
            "shell": _other_shell(),
            "env": _other_env(),
            "config": edit("config/c.ini", "COPY config"),
        },
    )


def _other_shell() -> Change:
    def change(folder: Folder, rng: random.Random) -> Truth:
        old = next(each for each in folder.dockerfile.splitlines() if each.startswith("SHELL"))
        new = f'SHELL ["/bin/busybox", "env", "N={folder.number}", "/bin/sh", "-ec"]'
        folder.write("Dockerfile", folder.dockerfile.replace(old, new))
        return [Expected("instruction_changed", f"{old} → {new}", "RUN echo shell")]

    return change


def _other_env() -> Change:
    """A variable that a COPY's destination is made of, in an instruction of two lines."""

    def change(folder: Folder, rng: random.Random) -> Truth:
        text = folder.dockerfile
        old = re.search(r"HOME_OF=h(\d+)", text)
        assert old is not None
        new = f"HOME_OF=h{folder.number}"
        folder.write("Dockerfile", text.replace(old[0], new))
        told = f"ENV {old[0]} UNUSED=1 → ENV {new} UNUSED=1"
        return [Expected("instruction_changed", told, f"COPY config /h{folder.number}/config")]

    return change


def kinds_of_copy() -> Sample:
    return Sample(
        "kinds-of-copy",
        f"""\
FROM {BASE}
ENV SALT=@SALT
COPY ["with space.txt", "/data/"]
COPY *.py /py/
COPY --chown=1000:1000 owned /owned
ADD added /added
COPY --chmod=755 run.sh /run.sh
COPY one.txt two.txt /both/
COPY linked /linked
RUN echo copied 0
""",
        {
            "with space.txt": "s\n",
            "main.py": "1\n",
            "util.py": "2\n",
            "owned/o.txt": "o\n",
            "added/a.txt": "a\n",
            "run.sh": "r\n",
            "one.txt": "1\n",
            "two.txt": "2\n",
            "linked/real.txt": "r\n",
            "linked/other.txt": "o\n",
            "aside.txt": "x\n",
        },
        {
            "space": edit("with space.txt", "with space.txt"),
            "wildcard": edit_several(["main.py", "util.py"], "COPY *.py"),
            "new by wildcard": toggle("extra.py", "COPY *.py"),
            "owned": edit("owned/o.txt", "COPY --chown"),
            "added": edit("added/a.txt", "ADD added"),
            "script": edit("run.sh", "COPY --chmod"),
            "one of two": edit("two.txt", "COPY one.txt two.txt"),
            "link": retarget("linked/link", "COPY linked"),
            "destination": line(r"^(COPY one.txt two.txt /both)(\d*)", "COPY one.txt two.txt"),
            "aside": ignored("aside.txt"),
            "two": both(edit("owned/o.txt", "COPY --chown"), edit("two.txt", "COPY one.txt two.txt")),
        },
        links={"linked/link": "real.txt"},
    )


def diamond() -> Sample:
    return Sample(
        "diamond",
        f"""\
FROM {BASE} AS common
ENV SALT=@SALT
COPY shared.txt /shared.txt
FROM common AS left
COPY left.txt /in
RUN echo left 0 && cat /in /shared.txt > /out
FROM common AS right
COPY right.txt /in
RUN echo right 0 && cat /in /shared.txt > /out
FROM {BASE} AS twin
ENV SALT=@SALT
COPY shared.txt /shared.txt
RUN cat /shared.txt > /out
FROM scratch
COPY --from=left /out /left
COPY --from=right /out /right
COPY --from=twin /out /twin
COPY top.txt /top.txt
""",
        {"shared.txt": "s\n", "left.txt": "l\n", "right.txt": "r\n", "top.txt": "t\n"},
        {
            "left": edit("left.txt", "COPY left.txt"),
            "right": edit("right.txt", "COPY right.txt"),
            "top": edit("top.txt", "COPY top.txt"),
            "shared": edit("shared.txt", "COPY shared.txt"),
            "left run": line(r"^(RUN echo left )(\d+)", "RUN echo left"),
            "both": both(edit("left.txt", "COPY left.txt"), edit("right.txt", "COPY right.txt")),
        },
    )


def triggers() -> Sample:
    return Sample(
        "triggers",
        f"""\
FROM {TRIGGER}
ENV SALT=@SALT
COPY app.txt /app.txt
RUN echo app 0
""",
        {"trigger.txt": "t@SALT\n", "app.txt": "a\n"},
        {
            "triggered": edit("trigger.txt", "COPY trigger.txt"),
            "own": edit("app.txt", "COPY app.txt"),
            "run": line(r"^(RUN echo app )(\d+)", "RUN echo app"),
        },
    )


def substituted() -> Sample:
    """Bases that no registry gives, for which local ones stand."""
    return Sample(
        "substituted",
        """\
FROM busybox:1.36 AS build
ENV SALT=@SALT
COPY in.txt /in.txt
RUN echo build 0 && cat /in.txt > /out.txt
FROM busybox:1.36
ENV SALT=@SALT
WORKDIR /app
COPY --from=build /out.txt ./
COPY --from=busybox:1.35 /bin/busybox /app/other
COPY app.txt ./
RUN echo app 0
""",
        {"in.txt": "i\n", "app.txt": "a\n"},
        {
            "in": edit("in.txt", "COPY in.txt"),
            "app": edit("app.txt", "COPY app.txt"),
            "build": line(r"^(RUN echo build )(\d+)", "RUN echo build"),
            "run": line(r"^(RUN echo app )(\d+)", "RUN echo app"),
        },
    )
