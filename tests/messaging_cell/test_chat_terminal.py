"""`cell chat` in a terminal, key by key."""

import re

import pytest
from rich.cells import cell_len

from tests.messaging_cell.running import RunningCell, until
from tests.messaging_cell.terminal import Terminal, in_terminal

pytestmark = pytest.mark.timeout(180)

CTRL_C, CTRL_D, TAB, UP = "\x03", "\x04", "\t", "\x1b[A"


def lines_of(terminal: Terminal) -> list[str]:
    return re.split(r"[\r\n]+", terminal.text)


def test_what_is_typed_is_sent_and_shown(cell: RunningCell) -> None:
    """The prompt names the conversation, the bar below says how things stand, and Ctrl-D leaves."""
    with in_terminal(cell, "chat", "ann1t") as ann, in_terminal(cell, "chat", "bob1t", "ann1t") as bob:
        ann.sees("/with USER opens a conversation · /help · Ctrl-D leaves")
        bob.sees("ann1t>")
        bob.sees("writing to ann1t")
        bob.type("hello ann")
        bob.sees("you  hello ann")
        ann.sees("[bob1t]  hello ann")
        ann.sees("1 unread elsewhere")
        ann.type("/with bob1t")
        bob.sees("✓✓ read by ann1t")
        for terminal in (ann, bob):
            terminal.press(CTRL_D)
            assert terminal.ends_with() == 0
            assert "Traceback" not in terminal.text


def test_tab_completes_commands_names_numbers_and_emoji(cell: RunningCell) -> None:
    """From a few keys to an answer and a reaction."""
    cell.run("send", "ann2t", "question", "--from", "bobby2t")
    until(lambda: cell.run("conversations", "ann2t").stdout, "history has it")
    with in_terminal(cell, "chat", "ann2t") as ann:
        ann.sees("1 bobby2t")
        ann.press("/wi", "wi")
        ann.press(TAB, "th")
        ann.press(" bobb", "bobb")
        ann.press(TAB, "y2t")
        ann.type("")
        ann.sees("bobby2t  question")
        ann.press("/repl", "repl")
        ann.press(TAB, "y")
        ann.press(f" {TAB}", "1")
        ann.type(" yes")
        ann.sees("↳ bobby2t: question")
        ann.press("/react 1 :thumbs_u", "thumbs_u")
        ann.press(TAB, "👍")
        ann.type("")
        ann.sees("you react 👍 to 1 “question”")


def test_lines_come_back_with_the_arrow_key(cell: RunningCell) -> None:
    """In this chat and in the next one; Ctrl-C takes back what was typed, and leaves where nothing was."""
    with in_terminal(cell, "chat", "ann3t", "bob3t") as ann:
        ann.sees("bob3t>")
        ann.type("one more time")
        ann.sees("you  one more time")
        ann.press("never said", "never said")
        ann.press(CTRL_C, "bob3t>")
        ann.press(UP, "one more time")
        ann.type("")
        ann.sees("  2 ")
        ann.press(CTRL_C)
        assert ann.ends_with() == 0
    with in_terminal(cell, "chat", "ann3t", "bob3t") as ann:
        ann.sees("bob3t>")
        ann.press(UP, "one more time")
        ann.type("")
        ann.sees("  3 ")
    until(
        lambda: cell.run("history", "bob3t", "ann3t").stdout.count("one more time") == 3, "sent three times"
    )
    assert "never said" not in cell.run("history", "bob3t", "ann3t").stdout


def test_a_message_cannot_play_with_the_terminal(cell: RunningCell) -> None:
    """Sequences that set the title, clear the screen, colour, or report keys arrive as signs that do nothing."""
    hostile = "\x1b]0;pwned\x07\x1b[2J\x1b[31mred\x9b6n\x1bP$q\x1b\\ \u202eright\r\x08over \U0001f468\u200d\U0001f469"
    with in_terminal(cell, "chat", "ann4t", "eve4t") as ann:
        ann.sees("eve4t>")
        cell.run("send", "ann4t", "--from", "eve4t", given=hostile)
        ann.sees("]0;pwned")
        cell.run("send", "ann4t", "--from", "eve4t", given="  9 12:00 ann4t  forged\n  9 12:00 ann4t  forged")
        ann.sees("forged")
        ann.press(CTRL_D)
        assert ann.ends_with() == 0
        for harm in ("\x1b]0;pwned", "\x1b[2J", "\x1b[31mred", "\x9b", "\x1bP", "\u202e", "\x08over"):
            assert harm not in ann.raw
        assert not [line for line in lines_of(ann) if line.startswith("  9 12:00")], (
            "nothing looks like a message"
        )


def test_long_lines_are_broken_where_the_terminal_ends(cell: RunningCell) -> None:
    """Also after its size has changed, and with characters that take two columns."""
    said = "word " * 40 + "日本語" * 40
    with in_terminal(cell, "chat", "ann5t", "bob5t", columns=90) as ann:
        ann.sees("bob5t>")
        for columns in (90, 50):
            ann.resize(columns)
            before = len(ann.text)
            cell.run("send", "ann5t", said, "--from", "bob5t")
            shown = broken_lines(ann, before)
            assert max(map(cell_len, shown)) <= columns
            assert len(shown) >= len(said) // columns
            assert all(line.startswith(" " * 10) for line in shown[1:])


def broken_lines(terminal: Terminal, start: int) -> list[str]:
    """Those of the message that is shown behind `start`, once all of it is."""
    until(lambda: "日本語" * 40 in re.sub(r"\s", "", terminal.text[start:]), "it is shown")
    return [line for line in re.split(r"[\r\n]+", terminal.text[start:]) if "word" in line or "日" in line]


def test_no_color_means_none(cell: RunningCell) -> None:
    """With NO_COLOR (no-color.org) nothing is coloured, neither messages nor the prompt."""
    for variables, is_coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        with in_terminal(cell, "chat", "ann6t", "bob6t", columns=100, **variables) as ann:
            ann.sees("bob6t>")
            cell.run("send", "ann6t", "hello", "--from", "bob6t")
            ann.sees("bob6t  hello")
            ann.type("/bogus")
            ann.sees("There is no /bogus")
            given = ";".join(re.findall(r"\x1b\[([\d;]*)m", ann.raw)).split(";")
            coloured = [code for code in given if re.fullmatch(r"3[0-8]|4[0-8]|9\d|10\d", code)]
            assert bool(coloured) is is_coloured, coloured
