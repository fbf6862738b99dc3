"""Logs: one line an event on standard error, for people in a terminal and as JSON for machines."""

import logging
import sys
import time
from collections.abc import MutableMapping, Sequence
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

_SHARED: Sequence[Processor] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)

_EXPORTER = "opentelemetry.exporter.otlp.proto.grpc.exporter"
"""Tells each try of each send while its collector is away."""
_SELDOM_S = 60.0

_OF_THE_CELL = frozenset(("event", "exception", "stack"))


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send everything logged, by structlog or by logging, to `stream` (standard error), from `level` on.

    `form` is console, json, or auto: console if the stream is a terminal.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(form, stream),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for noisy in ("asyncio", "grpc"):  # tell at debug level what nobody debugs a cell with
        logging.getLogger(noisy).setLevel(max(logging.INFO, root.level))
    for noisy in ("cassandra", "kafka"):  # tell as information what goes as it should
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    exporter = logging.getLogger(_EXPORTER)
    exporter.setLevel(max(logging.ERROR, root.level))
    if not any(isinstance(each, _Seldom) for each in exporter.filters):
        exporter.addFilter(_Seldom())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


class _Seldom(logging.Filter):
    """Lets a line through once in a while."""

    def __init__(self) -> None:
        super().__init__()
        self._next_s = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + _SELDOM_S
        return True


def _rendering(form: str, stream: TextIO) -> list[Processor]:
    if form == "console" or (form == "auto" and stream.isatty()):
        return [_escaped, structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _escaped(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What clients say of themselves must not steer the terminal of whoever reads it."""
    for name, value in entry.items():
        if isinstance(value, str) and name not in _OF_THE_CELL and not value.isprintable():
            entry[name] = value.encode("unicode_escape").decode()
    return entry
