"""What lines typed into a chat mean."""

import pytest

from messaging_cell import chat_input as typed
from messaging_cell.chat_input import read_line


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("hello", typed.Say("hello")),
        ("  hello /with bob ", typed.Say("hello /with bob")),
        ("//help", typed.Say("/help")),
        ("", typed.Nothing()),
        (" \t", typed.Nothing()),
        ("/with bob", typed.With(("bob",))),
        ("/w bob, cat bob", typed.With(("bob", "cat"))),
        ("/react 👍", typed.React("👍", False)),
        ("/react so good", typed.React("so good", False)),
        ("/unreact", typed.React("", True)),
        ("/unreact 👍", typed.React("👍", True)),
        ("/history", typed.History(None)),
        ("/list", typed.ListAll()),
        ("/help", typed.Help()),
        ("/?", typed.Help()),
        ("/quit", typed.Quit()),
        ("/exit", typed.Quit()),
    ],
)
def test_lines_that_mean_something(line: str, meaning: typed.Line) -> None:
    """Commands, and everything else is said; two slashes say a line that begins with one."""
    assert read_line(line) == meaning


@pytest.mark.parametrize(
    "line", ["/bogus", "/", "/with", "/with ü", "/react", f"/react {'👍' * 17}", "/history soon", "/WITH bob"]
)
def test_lines_that_do_not(line: str) -> None:
    """Each has an answer, and none is sent as text."""
    assert isinstance(read_line(line), typed.Wrong)


def test_times() -> None:
    """A day and a time, or a time of today; in local time unless it says otherwise."""
    for text, shown in (("2026-11-20 15:00", "2026-11-20 15:00"), ("2026-11-20T15:00", "2026-11-20 15:00")):
        asked = read_line(f"/history {text}")
        assert isinstance(asked, typed.History)
        assert asked.at is not None
        assert asked.at.tzinfo is not None
        assert asked.at.strftime("%Y-%m-%d %H:%M") == shown
    today = read_line("/history 15:00")
    assert isinstance(today, typed.History)
    assert today.at is not None
    assert today.at.strftime("%H:%M") == "15:00"
    zoned = read_line("/history 2026-11-20T15:00:00Z")
    assert isinstance(zoned, typed.History)
    assert zoned.at is not None
    assert zoned.at.timestamp() == 1_795_186_800
