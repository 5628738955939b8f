"""Structured logs of the processes that stay: a line an event on stderr, with the build and the client it is about."""

from __future__ import annotations

import logging
import sys

import structlog

from dockwright.settings import LogFormat


def set_up(log_format: LogFormat) -> None:
    """Our own lines and those of the libraries, in one form: text for people, JSON for collectors."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendered(log_format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in ("httpx", "alembic", "celery", "kombu"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _rendered(log_format: LogFormat) -> list[structlog.typing.Processor]:
    if log_format == "json":
        # Without the values of variables, here and below: some of them are secrets.
        told = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [structlog.processors.ExceptionRenderer(told), structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
