"""Logs, whoever writes them."""

import io
import json
import logging
import time
from collections.abc import Iterator

import pytest
import structlog

from messaging_cell import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def write(level: str, form: str, stream: io.StringIO) -> str:
    logs.configure(level, form, stream)
    structlog.get_logger("ours").info("from structlog", partition=3)
    logging.getLogger("theirs").warning("from %s", "logging")
    return stream.getvalue()


def test_json_has_one_object_a_line() -> None:
    """Both ways of logging come out alike, with level, logger and time."""
    ours, theirs = map(json.loads, write("info", "json", io.StringIO()).splitlines())
    assert (ours["event"], ours["partition"], ours["level"], ours["logger"]) == (
        "from structlog",
        3,
        "info",
        "ours",
    )
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("from logging", "warning", "theirs")
    assert ours["timestamp"].endswith("Z")


def test_auto_is_console_in_a_terminal_only() -> None:
    """People get columns and colours, machines JSON; either can be asked for."""
    assert "\x1b[" in write("info", "auto", Terminal())
    assert write("info", "auto", io.StringIO()).startswith("{")
    assert write("info", "json", Terminal()).startswith("{")
    console = write("info", "console", io.StringIO())
    assert "from structlog" in console
    assert "\x1b[" not in console


def test_what_clients_say_does_not_steer_a_terminal() -> None:
    """Control characters in values are shown as escapes, in the console as in JSON."""
    for form, shown in (("console", "a\\x1b[31m\\nb"), ("json", "a\\u001b[31m\\nb")):
        stream = io.StringIO()
        logs.configure("info", form, stream)
        structlog.get_logger("ours").info("stream opened", client_id="a\x1b[31m\nb", client_info="ä")
        assert "\x1b" not in stream.getvalue()
        assert stream.getvalue().count("\n") == 1
        assert shown in stream.getvalue()


def test_the_level_counts_for_all() -> None:
    """Less important lines are left out."""
    assert [json.loads(line)["event"] for line in write("warning", "json", io.StringIO()).splitlines()] == [
        "from logging"
    ]
    assert write("error", "json", io.StringIO()) == ""


def test_an_exception_is_part_of_its_line() -> None:
    """JSON stays one line an event, traceback included."""
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    try:
        raise ValueError("what happened")
    except ValueError:
        structlog.get_logger("ours").exception("it failed")
    (line,) = stream.getvalue().splitlines()
    assert "what happened" in json.loads(line)["exception"]


def test_a_collector_that_is_away_is_told_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exporter tells every try of every send: a line a minute is enough, and only that nothing came of it."""
    now_s = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    exporter = logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter")
    before = exporter.filters[:], exporter.level
    exporter.filters.clear()
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    logs.configure("info", "json", stream)
    for _ in range(3):
        exporter.warning("trying again")
        exporter.error("failed")
        now_s += 31.0
    exporter.filters[:], exporter.level = before
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["failed", "failed"]
