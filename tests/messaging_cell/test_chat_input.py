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
        ("/open 2", typed.OpenListed(2)),
        ("/reply 3 Yes, 2 please", typed.Reply(3, "Yes, 2 please")),
        ("/r #3  a", typed.Reply(3, "a")),
        ("/react 👍", typed.React(None, "👍", False)),
        ("/react 3 👍", typed.React(3, "👍", False)),
        ("/react 100", typed.React(None, "100", False)),
        ("/react 3 100", typed.React(3, "100", False)),
        ("/react :thumbs_up", typed.React(None, "👍", False)),
        ("/react :heart:", typed.React(None, "❤️", False)),
        ("/react :mine", typed.React(None, ":mine", False)),
        ("/react so good", typed.React(None, "so good", False)),
        ("/unreact", typed.React(None, "", True)),
        ("/unreact 4", typed.React(4, "", True)),
        ("/unreact 4 👍", typed.React(4, "👍", True)),
        ("/unreact 👍", typed.React(None, "👍", True)),
        ("/more", typed.More(newer=False)),
        ("/newer", typed.More(newer=True)),
        ("/list", typed.ListAll(everything=False)),
        ("/list all", typed.ListAll(everything=True)),
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
    "line",
    [
        *("/bogus", "/", "/with", "/with ü", "/WITH bob", "/open", "/open two"),
        *("/reply", "/reply 3", "/reply yes 3", "/react", f"/react {'👍' * 17}", "/at", "/at soon"),
    ],
)
def test_lines_that_do_not(line: str) -> None:
    """Each has an answer, and none is sent as text."""
    assert isinstance(read_line(line), typed.Wrong)


def test_a_time_is_read_as_everywhere() -> None:
    """`/at` takes what `cell history --at` takes."""
    asked = read_line("/at 2026-11-20T15:00:00Z")
    assert isinstance(asked, typed.At)
    assert asked.time.timestamp() == 1_795_186_800


def test_help_tells_of_every_command() -> None:
    """What Tab offers is what help shows, and each means something."""
    for name, (takes, _) in typed.COMMANDS.items():
        assert name in typed.HELP
        assert takes or not isinstance(read_line(name), typed.Wrong)
