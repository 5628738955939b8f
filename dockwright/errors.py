"""Every error that a person can meet, in one tree.

    DockwrightError
    ├── UsageError            exit 2   what was asked cannot be meant: a path, a name, an option, a variable
    ├── UnreachableError      exit 3   a needed part (engine, registry, database, edge) does not answer
    ├── NotAllowedError       exit 4
    ├── Interrupted           exit 130
    └── BuildError            exit 1   the build, test, check or verification failed

A message says what happened and to what; a remedy says what to do. `code` is stable and unique: programs match on it,
never on the text. A library's errors are translated where they enter (`docker/`, `sources/`, `db/`).
"""

from __future__ import annotations

from typing import Any


class DockwrightError(Exception):
    """One line of cause, one line of remedy."""

    code = "error"
    exit_code = 1
    http_status = 500
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        remedy: str,
        stage: str | None = None,
        step: str | None = None,
        step_exit_code: int | None = None,
        last_lines: list[str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.stage = stage
        self.step = step
        self.step_exit_code = step_exit_code
        self.last_lines = last_lines or []

    def as_dict(self) -> dict[str, Any]:
        """The `error` of `build --json` (CONTRACT: code, message, remedy, stage, step, exit_code, last_lines)."""
        return {
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            "stage": self.stage,
            "step": self.step,
            "exit_code": self.step_exit_code,
            "last_lines": self.last_lines,
        }


# --- what was asked cannot be meant -----------------------------------------------------------------------------


class UsageError(DockwrightError):
    code = "wrong_usage"
    exit_code = 2
    http_status = 422


class InvalidSetting(UsageError):
    code = "invalid_setting"


class PathNotFound(UsageError):
    code = "path_not_found"
    http_status = 404


class NoDockerfile(UsageError):
    code = "no_dockerfile"


class NoComposeFile(UsageError):
    code = "no_compose_file"


class UnknownTemplate(UsageError):
    code = "unknown_template"
    http_status = 404


class InvalidTemplate(UsageError):
    code = "invalid_template"


class InvalidVariable(UsageError):
    code = "invalid_variable"


class NotFound(UsageError):
    """No build, image, project, product or release of that name or number."""

    code = "not_found"
    http_status = 404


class Conflict(UsageError):
    """The name is taken, or the thing is in a state in which this cannot be done."""

    code = "conflict"
    http_status = 409


class UnsafeSource(UsageError):
    """A link or a path of the source leaves the source tree."""

    code = "unsafe_source"


class InvalidArchive(UsageError):
    """What was uploaded is no tar.gz, is damaged, or holds what no source tree can hold."""

    code = "invalid_archive"


class SourceTooLarge(UsageError):
    code = "source_too_large"
    http_status = 413


class GitRefNotFound(UsageError):
    code = "git_ref_not_found"
    http_status = 404


# --- a needed part does not answer ------------------------------------------------------------------------------


class UnreachableError(DockwrightError):
    code = "unreachable"
    exit_code = 3
    http_status = 503
    retryable = True


class EngineUnreachable(UnreachableError):
    code = "engine_unreachable"


class ToolMissing(UnreachableError):
    """A program that Dockwright drives (buildx, git, haproxy, mmdebstrap) is not installed."""

    code = "tool_missing"
    retryable = False


class RegistryUnreachable(UnreachableError):
    code = "registry_unreachable"


class BuilderUnavailable(UnreachableError):
    """An isolated builder cannot be made or does not start."""

    code = "builder_unavailable"


class GitUnreachable(UnreachableError):
    code = "git_unreachable"


class DatabaseError(UnreachableError):
    code = "database_error"


class DatabaseBusy(DatabaseError):
    """It answers, and every connection that a process may have to it is in use."""

    code = "database_busy"


class ServerUnreachable(UnreachableError):
    """The Dockwright server that the command line works against does not answer, or something else does."""

    code = "server_unreachable"


class BrokerUnreachable(UnreachableError):
    """Redis, through which distributed workers are woken, does not answer."""

    code = "broker_unreachable"


class SecretKeyUnusable(UnreachableError):
    """The key that secrets are encrypted with is not there, or is another one."""

    code = "secret_key_unusable"
    retryable = False


class EdgeError(UnreachableError):
    code = "edge_error"


# --- not allowed, interrupted -----------------------------------------------------------------------------------


class NotAllowedError(DockwrightError):
    """The caller's role is not enough."""

    code = "not_allowed"
    exit_code = 4
    http_status = 403


class SignInNeeded(NotAllowedError):
    """No session and no token, or one that is not valid any more."""

    code = "sign_in_needed"
    http_status = 401


class CsrfTokenNeeded(NotAllowedError):
    """A change with a browser's session that may come from another site's page."""

    code = "csrf_token_needed"


class TooManyAttempts(NotAllowedError):
    """Wrong passwords too often: nobody may try again for a while."""

    code = "too_many_attempts"
    http_status = 429
    retryable = True
    retry_after = 60
    """Seconds: the `Retry-After` of the answer."""


class RegistryRefused(NotAllowedError):
    """The image registry knows neither name nor password, or does not let this user do that."""

    code = "registry_refused"


class Interrupted(DockwrightError):
    code = "interrupted"
    exit_code = 130
    http_status = 409


class Canceled(Interrupted):
    """Somebody asked for the end of the build."""

    code = "canceled"


class Superseded(Canceled):
    """A newer build of the same project and ref was queued before this one had begun."""

    code = "superseded"


class LeaseLost(Interrupted):
    """The build is another worker's now, or was ended: this one must let go of it."""

    code = "lease_lost"


class Stopping(Interrupted):
    """The server that runs the build stops: the build goes back to the queue."""

    code = "stopping"


# --- the build failed -------------------------------------------------------------------------------------------


class BuildError(DockwrightError):
    code = "build_failed"
    http_status = 422


class DockerfileSyntax(BuildError):
    code = "dockerfile_syntax"


class ComposeFileWrong(BuildError):
    """The folder's compose file cannot be read, or asks for what cannot be built."""

    code = "compose_file_wrong"


class ServicesFailed(BuildError):
    """Compose could not start a folder's services."""

    code = "services_failed"


class StepFailed(BuildError):
    """An instruction of the Dockerfile ended with an error."""

    code = "step_failed"


class BaseImageMissing(BuildError):
    code = "base_image_missing"


class BuilderFailed(BuildError):
    """BuildKit gave up for a reason of its own."""

    code = "builder_failed"


class WorkerLost(BuildError):
    """The process that ran the build ended, three times if it came from the queue."""

    code = "worker_lost"


class BuildTimeout(BuildError):
    code = "build_timeout"


class SourceChanged(BuildError):
    """A file changed while it was being built: the image may hold either version."""

    code = "source_changed"
    retryable = True


class DiskFull(BuildError):
    code = "disk_full"
    http_status = 507


class Unhealthy(BuildError):
    """A container ended, or never became ready."""

    code = "unhealthy"


class SmokeTestFailed(BuildError):
    code = "smoke_test_failed"


class PushFailed(BuildError):
    """The image registry answers, and the image did not get there."""

    code = "push_failed"


class PortTaken(BuildError):
    code = "port_taken"
    http_status = 409


class VerificationFailed(BuildError):
    code = "verification_failed"


class EngineError(BuildError):
    """The engine answered a call with an error that no other code names."""

    code = "engine_error"
    http_status = 502


def by_code(document: dict[str, Any]) -> DockwrightError:
    """The error that `as_dict` wrote down: its class by its code, a plain `DockwrightError` for one from elsewhere."""
    classes = {cls.code: cls for cls in _all_classes(DockwrightError)}
    error = classes.get(document["code"], DockwrightError)(
        document["message"],
        remedy=document["remedy"],
        stage=document["stage"],
        step=document["step"],
        step_exit_code=document["exit_code"],
        last_lines=document["last_lines"],
    )
    error.code = document["code"]
    return error


def _all_classes(cls: type[DockwrightError]) -> list[type[DockwrightError]]:
    return [cls, *(below for sub in cls.__subclasses__() for below in _all_classes(sub))]
