"""What the final image is and does: its base, its user, its command, its health, its ports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from dockwright.insight.dockerfile import Instruction, Target
from dockwright.insight.findings import Finding
from dockwright.insight.replay import SCRATCH
from dockwright.insight.selection import is_remote
from dockwright.insight.subject import Subject
from dockwright.insight.unset import unset_in
from dockwright.insight.usage import is_there

_SERVER = re.compile(
    r"\b(?:uvicorn|gunicorn|hypercorn|daphne|waitress-serve|flask\s+run|fastapi\s+(?:run|dev)|streamlit|nginx|httpd"
    r"|caddy|http\.server|runserver|php\s+-S|rails\s+s|puma|next\s+start|vite\s+preview|http-server|json-server)\b"
)
_OFTEN_COPIED_FROM = frozenset(
    (
        *("alpine", "bash", "busybox", "caddy", "composer", "debian", "docker", "eclipse-temurin", "gcc", "golang"),
        *(
            "gradle",
            "haproxy",
            "httpd",
            "maven",
            "memcached",
            "mongo",
            "mysql",
            "nginx",
            "node",
            "openjdk",
            "perl",
            "php",
        ),
        *(
            "postgres",
            "python",
            "rabbitmq",
            "redis",
            "registry",
            "ruby",
            "rust",
            "swift",
            "tomcat",
            "traefik",
            "ubuntu",
        ),
    )
)
"""Images that everybody has by these names: no slip of the pen, however a build target is called."""
_DROPS_ROOT = re.compile(r"\b(?:gosu|su-exec|setpriv|runuser|dumb-init\s+--setuid)\b")


def base_tags(subject: Subject) -> Iterator[Finding]:
    for _, instruction, image in image_names(subject):
        if "@" in image or instruction.flag_values("mount"):
            continue
        repository, colon, tag = image.rpartition(":")
        is_tagged = bool(colon) and "/" not in tag
        if is_tagged and tag != "latest":
            continue
        cause = "the tag latest" if is_tagged else "no tag, so latest is meant"
        name = repository if is_tagged else image
        yield subject.found(
            "base_not_pinned",
            instruction,
            f"{image} has {cause}: tomorrow's build may stand on another image than today's",
            f"Name a version, {name}:VERSION, or a digest, {name}@sha256:…",
        )


def image_names(subject: Subject) -> Iterator[tuple[Target, Instruction, str]]:
    """Images from elsewhere that the needed targets are FROM or copy from, with the instruction that names each."""
    for target in subject.needed:
        base = subject.recipe.bases[target.index]
        if base.image and target.index not in subject.unset and not subject.is_elsewhere(base.image):
            yield target, target.origin, base.image
        for instruction in target.instructions:
            for origin in subject.recipe.origins_of(target, instruction):
                if origin.image and not subject.is_elsewhere(origin.image):
                    yield target, instruction, origin.image


def bases_without_value(subject: Subject) -> Iterator[Finding]:
    for target in subject.dockerfile.targets:
        if names := subject.unset.get(target.index):
            yield _without_value(subject, target.origin, f"FROM {target.base} names no image", names)
    for instruction, name in subject.demanded:
        yield _without_value(subject, instruction, f"{instruction.keyword} does not do without a value", [name])


def _without_value(subject: Subject, instruction: Instruction, problem: str, names: Sequence[str]) -> Finding:
    has = "has no value" if len(names) == 1 else "have no values"
    return subject.found(
        "arg_without_value",
        instruction,
        f"{problem}: {' and '.join(f'${name}' for name in names)} {has} here",
        f"Pass it with {' '.join(f'--build-arg {name}=…' for name in names)} (also to check), or give it a default",
    )


def unknown_origins(subject: Subject) -> Iterator[Finding]:
    """`COPY --from=biulder`: an image of that name is nowhere, a build target of nearly that name is here."""
    from difflib import get_close_matches

    names = [target.name for target in subject.dockerfile.targets if target.name]
    for _, instruction, image in image_names(subject):
        near = get_close_matches(image.lower(), names, n=1, cutoff=0.7)
        is_plain = not set(image) & set("/:@.") and image not in _OFTEN_COPIED_FROM
        if instruction.keyword != "FROM" and is_plain and near and image not in subject.images:
            yield subject.found(
                "copy_from_unknown",
                instruction,
                f'There is no build target "{image}", so an image of that name is meant',
                f'Write --from={near[0]}, or add "AS {image}" to the FROM that is meant',
            )


def missing_sources(subject: Subject) -> Iterator[Finding]:
    """Not those of which the file is there and `.dockerignore` leaves it out: whoever knows the disk tells that."""
    needed = {target.index for target in subject.needed}
    for use in subject.uses:
        if not is_there(use) and (names := unset_in(subject, use)):
            problem = f"{use.instruction.keyword} takes in {use.source}, and the context has no such file"
            yield _without_value(subject, use.instruction, problem, names)
        elif not is_there(use):
            code = "copy_source_missing" if use.target.index in needed else "copy_source_missing_unused"
            yield subject.found(
                code,
                use.instruction,
                f"{use.instruction.keyword} takes in {use.source}, and the context has no such file",
                "Copy it into the context first: nothing above its root can be taken in"
                if ".." in use.instruction.text
                else f"Add {use.source}, or correct its path, which is seen from the context's root",
            )


def remote_adds(subject: Subject) -> Iterator[Finding]:
    for target in subject.needed:
        for instruction in target.instructions:
            if instruction.keyword != "ADD" or instruction.flag("checksum"):
                continue
            for source in filter(is_remote, instruction.operands[:-1]):
                is_pinned_commit = re.search(r"#[0-9a-f]{40}\b", source)
                if not is_pinned_commit:
                    yield subject.found(
                        "add_without_checksum",
                        instruction,
                        f"ADD takes whatever {source} gives at the time of the build",
                        "Add --checksum=sha256:… (or, for a Git repository, #COMMIT in full)",
                    )


def root_user(subject: Subject) -> Iterator[Finding]:
    instructions = subject.instructions(subject.final)
    users = [instruction for instruction in instructions if instruction.keyword == "USER"]
    config = subject.config_of(subject.final)
    user = users[-1].operands[0] if users else str((config or {}).get("User") or "")
    name = user.partition(":")[0]
    if (name and name not in ("root", "0")) or _drops_root(subject, instructions):
        return
    if (
        not users
        and config is None
        and re.search(r"nonroot|unprivileged|rootless", subject.image_of(subject.final).name)
    ):
        return
    yield subject.found(
        "runs_as_root",
        users[-1] if users else subject.final.origin,
        "The app runs as root: a hole in it is a hole in everything that the container can reach",
        "Make a user with RUN useradd, give it what it writes to, and end the Dockerfile with USER",
    )


def _drops_root(subject: Subject, instructions: list[Instruction]) -> bool:
    """By its entry point, or a script of the context that the entry point names."""
    starts = [one.full_text for one in instructions if one.keyword in ("ENTRYPOINT", "CMD")]
    words = {word.rpartition("/")[2] for text in starts for word in re.findall(r"[\w./-]+", text)}
    scripts = [path for use in subject.uses for path in use.names if path.rpartition("/")[2] in words]
    return any(_DROPS_ROOT.search(text) for text in [*starts, *map(subject.read, scripts)])


def health(subject: Subject) -> Iterator[Finding]:
    """Only of what listens: whatever ends by itself needs none."""
    instructions = subject.instructions(subject.final)
    config = subject.config_of(subject.final) or {}
    has_check = any(one.keyword == "HEALTHCHECK" for one in instructions) or bool(config.get("Healthcheck"))
    if not has_check and _exposes(subject):
        yield subject.found(
            "no_healthcheck",
            subject.final.origin,
            "Nothing tells whether the app is well: it counts as ready when its port accepts",
            'Add HEALTHCHECK CMD ["…"], a command that fails when the app does not answer',
        )


def _exposes(subject: Subject) -> bool:
    config = subject.config_of(subject.final) or {}
    own = any(one.keyword == "EXPOSE" for one in subject.instructions(subject.final))
    return own or bool(config.get("ExposedPorts"))


def exposed_port(subject: Subject) -> Iterator[Finding]:
    commands = [one for one in subject.instructions(subject.final) if one.keyword in ("CMD", "ENTRYPOINT")]
    text = " ".join(" ".join(one.operands) for one in commands[-2:])
    is_known = subject.config_of(subject.final) is not None
    if is_known and not _exposes(subject) and _SERVER.search(text):
        yield subject.found(
            "port_not_exposed",
            commands[-1],
            "The app looks like a server, and no EXPOSE names its port: it is built and not deployed",
            "Add EXPOSE with the port that the app listens on",
        )


def commands_of_the_image(subject: Subject) -> Iterator[Finding]:
    for target in subject.chain(subject.final):
        for keyword in ("CMD", "ENTRYPOINT"):
            found = [one for one in target.instructions if one.keyword == keyword]
            for instruction in found[:-1]:
                yield subject.found(
                    "several_commands",
                    instruction,
                    f"This {keyword} does nothing: the one in line {found[-1].line} replaces it",
                    f"Keep one {keyword}",
                )
    for keyword in ("CMD", "ENTRYPOINT"):
        in_chain = [one for one in subject.instructions(subject.final) if one.keyword == keyword]
        if in_chain:
            yield from _shell_form(subject, in_chain[-1])


def _shell_form(subject: Subject, instruction: Instruction) -> Iterator[Finding]:
    command = instruction.text.partition(" ")[2].strip()
    if instruction.is_json or not command or command.startswith("exec "):
        return
    if command.startswith("["):
        cause = "is no JSON, so a shell gets it as it stands"
        remedy = "Write the words between double quotes, separated by commas"
    else:
        cause = "runs in a shell, which does not hand on the signal to end: the app is killed after ten seconds"
        words = ", ".join(f'"{word}"' for word in command.split())
        remedy = (
            f"Write {instruction.keyword} [{words}]"
            if re.fullmatch(r"[\w ./:=@%+,-]+", command)
            else (f'Write it as JSON, {instruction.keyword} ["program", "argument"], or begin it with exec')
        )
    yield subject.found("command_in_shell_form", instruction, f"{instruction.keyword} {cause}", remedy)


def working_folders(subject: Subject) -> Iterator[Finding]:
    config = subject.config_of(subject.final)
    is_known = bool(config and config.get("WorkingDir")) or subject.image_of(subject.final).name == SCRATCH
    for instruction, state in subject.steps(subject.final):
        if instruction.keyword != "WORKDIR":
            continue
        path = state.scope.put_in(instruction.operands[0])
        if path.startswith("/"):
            is_known = True
        elif not is_known:
            yield subject.found(
                "workdir_relative",
                instruction,
                f"WORKDIR {path} is seen from wherever the base image happens to be",
                f"Write the whole path: WORKDIR /{path.removeprefix('./')}",
            )


RULES = (
    base_tags,
    bases_without_value,
    unknown_origins,
    missing_sources,
    remote_adds,
    root_user,
    health,
    exposed_port,
    commands_of_the_image,
    working_folders,
)
