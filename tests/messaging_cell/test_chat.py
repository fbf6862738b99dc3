"""`cell chat`, line by line, against a running cell."""

import re
import signal
from pathlib import Path

import pytest

from tests.messaging_cell.chatting import Chat, chatting
from tests.messaging_cell.running import DEADLINE_S, RunningCell, until

pytestmark = pytest.mark.timeout(180)


def plain(shown: str) -> list[str]:
    """The lines without numbers and times."""
    return [re.sub(r"^ *(\d+ )?(\d{4}-\d\d-\d\d )?(\d\d:\d\d )?", "", line) for line in shown.splitlines()]


def test_lines_of_a_pipe_are_sent_in_order(cell: RunningCell) -> None:
    """Everything typed is done before it ends, and each message is shown once, as its event came."""
    done = cell.run("chat", "ann1c", "bob1c", given="one\n\ntwo\n//three\n/quit\nfour\n")
    assert done.returncode == 0
    assert done.stderr == ""
    assert plain(done.stdout)[-3:] == ["you  one", "you  two", "you  /three"]
    assert "one" in cell.run("history", "bob1c", "ann1c").stdout


def test_two_people_talk(cell: RunningCell) -> None:
    """Messages of both, marks, and reactions, at both ends."""
    with chatting(cell, "ann2c") as ann, chatting(cell, "bob2c", "ann2c") as bob:
        ann.sees("You have no conversations yet")
        bob.sees("A new conversation")
        bob.type("hello ann")
        bob.sees("you  hello ann")
        ann.sees("[bob2c]  hello ann")
        bob.sees("✓ received by ann2c")
        ann.type("/with bob2c")
        ann.sees("── bob2c ──")
        bob.sees("✓✓ read by ann2c")
        ann.type("hello bob")
        bob.sees("ann2c  hello bob")
        ann.sees("✓✓ read by bob2c")
        bob.type("/react 👍")
        ann.sees("bob2c reacts 👍 to 2 “hello bob”  👍")
        bob.sees("you react 👍 to 2 “hello bob”  👍")
        bob.type("/unreact")
        ann.sees("bob2c takes back 👍 to 2 “hello bob”\n")
        ann.leave()
        bob.leave()


def test_what_was_missed_is_shown_on_return_once(cell: RunningCell) -> None:
    """Who comes back sees what came meanwhile, and the unread counts; who comes back again sees nothing twice."""
    cell.run("chat", "ann3c", "bob3c", given="before\n")
    for text in ("one", "two"):
        cell.run("send", "ann3c", text, "--from", "bob3c")
    cell.run("send", "ann3c", "all", "--from", "bob3c", "--to", "cat3c")
    back = cell.run("chat", "ann3c").stdout
    assert "While you were away, 3 messages:" in back
    assert plain(back)[1:4] == ["[bob3c]  one", "[bob3c]  two", "[bob3c, cat3c] bob3c  all"]
    assert re.search(r"bob3c +2 unread", back)
    assert re.search(r"bob3c, cat3c +1 unread", back)
    again = cell.run("chat", "ann3c", given="/with bob3c\n").stdout
    assert "While you were away" not in again
    assert again.count("[bob3c]") == 0
    until(lambda: "2 unread" not in cell.run("chat", "ann3c").stdout, "what was opened counts as read")
    assert "1 unread" in cell.run("chat", "ann3c").stdout


def test_history_pages_back_and_jumps(cell: RunningCell) -> None:
    """/more shows what is before, page by page; /at TIME what was then, and from there /more and /newer go on."""
    cell.run("chat", "ann4c", "bob4c", given="".join(f"m{n:02}\n" for n in range(35)))
    opened, *pages = pages_of(cell, "/more\n/more\n/more\n")
    assert opened[-1] == "m34"
    assert pages == [[f"m{n:02}" for n in range(5, 25)], [f"m{n:02}" for n in range(5)]]
    _, *pages = pages_of(cell, "/at 2000-01-01\n/more\n/newer\n/newer\n/newer\n")
    assert pages[0] == [f"m{n:02}" for n in range(len(pages[0]))]
    assert [message for page in pages for message in page] == [f"m{n:02}" for n in range(35)]


def pages_of(cell: RunningCell, lines: str) -> list[list[str]]:
    """What ann4c is shown of her messages, page by page."""
    shown = cell.run("chat", "ann4c", "bob4c", given=lines).stdout
    assert "messages." in shown  # at the end there are no more, and that is said
    opened = shown.split("── bob4c ──")[1].split("──")[0]
    past = [part.split("── now ──")[0] for part in re.split("── (?:earlier|then|later) ──\n", shown)[1:]]
    return [re.findall(r"m\d\d", part) for part in (opened, *past)]


def test_reactions_are_seen_in_history_and_taken_back_later(cell: RunningCell) -> None:
    """A reaction is there when one returns, and can be taken back then."""
    cell.run("chat", "ann5c", "bob5c", given="hello\n/react 🎉\n")
    shown = cell.run("chat", "ann5c", "bob5c", given="/unreact\n").stdout
    assert "you  hello  🎉" in shown
    until(lambda: "🎉" not in cell.run("history", "ann5c", "bob5c").stdout, "it is gone")


def test_wrong_lines_are_answered(cell: RunningCell) -> None:
    """Nothing that is typed ends a chat, and each mistake is told."""
    lines = "hello\n/react 👍\n/more\n/bogus\n/with\n/with a,ü\n/open 1\n/reply 1 x\n/with bob6c\n/react\n"
    lines += "/unreact\n/at then\n/help\n"
    shown = cell.run("chat", "ann6c", given=lines + f"/react {'x' * 65}\n{'y' * 70_000}\nstill here\n").stdout
    for answer in (
        "To whom?",
        "There is no message here to react to.",
        "Of which conversation?",
        "There is no /bogus",
        "With whom?",
        "ü is not a user id",
        "There is no conversation 1 in the list",
        "There is no message 1 here",
        "React with what?",
        "'then' is no time",
        "/unreact [N] [EMOJI]",
        "at most 64 bytes",
        "✗ Not sent: “yyyy",
        "at most 65536",
        "you  still here",
    ):
        assert answer in shown


def test_answers_quote_what_they_answer(cell: RunningCell) -> None:
    """/reply names a message by its number; both see what is answered, now, later, and when it is long past."""
    lines = "question\nother\n/at 1d\n/reply 1 answer\n/reply 9 nothing\n"
    shown = cell.run("chat", "ann9c", "bob9c", given=lines).stdout
    assert "↳ you: question\n          answer\n" in shown
    assert "There is no message 9 here" in shown
    for n in range(12):
        cell.run("send", "bob9c", f"m{n}", "--from", "ann9c")
    until(lambda: "m11" in cell.run("history", "bob9c", "ann9c").stdout, "history has it all")
    assert "↳ ann9c: question" in cell.run("chat", "bob9c", "ann9c", given="/more\n").stdout
    only = cell.run("history", "bob9c", "ann9c", "--count", "13").stdout
    assert plain(only)[:2] == ["ann9c  ↳ ann9c: question", "answer"]


def test_the_list_opens_conversations_by_number(cell: RunningCell) -> None:
    """/open takes the number that /list shows; groups are conversations of their own."""
    cell.run("send", "ann10c", "first", "--from", "bob10c")
    cell.run("send", "ann10c", "second", "--from", "bob10c", "--to", "cat10c")
    until(lambda: "second" in cell.run("conversations", "ann10c").stdout, "history has both")
    shown = cell.run("chat", "ann10c", given="/list\n/open 2\n/open 1\nhello all\n").stdout
    assert plain(shown.split("── bob10c ──")[1])[1:4] == [
        "bob10c  first",
        "── bob10c, cat10c ──",
        "bob10c  second",
    ]
    assert "hello all" in cell.run("history", "cat10c", "ann10c", "bob10c").stdout


def test_a_reaction_can_be_given_to_any_message_shown(cell: RunningCell) -> None:
    """By its number, by the name of an emoji; taken back by the number alone, and seen at the message."""
    shown = cell.run(
        "chat", "ann11c", "bob11c", given="one\ntwo\n/at 1h\n/react 1 :fire\n/react 1 🎉\n"
    ).stdout
    assert "you react 🔥 to 1 “one”  🔥\n" in shown
    assert "you react 🎉 to 1 “one”  🔥  🎉\n" in shown
    until(lambda: "one  🎉  🔥" in cell.run("history", "ann11c", "bob11c").stdout, "history has it")
    shown = cell.run("chat", "bob11c", "ann11c", given="/react 1 🎉\n/unreact 2\n/unreact 1\n").stdout
    assert "you react 🎉 to 1 “one”  🎉 2  🔥\n" in shown
    assert "You have not reacted there" in shown
    assert "you take back 🎉 to 1 “one”  🎉  🔥\n" in shown


def test_the_second_chat_of_a_user_says_what_it_lacks(cell: RunningCell) -> None:
    """One chat of a user keeps how far it has come; another one beside it works all the same."""
    with chatting(cell, "ann12c") as first:
        first.sees("You have no conversations yet")
        shown = cell.run("chat", "ann12c", "bob12c", given="hello\n").stdout
        assert "ann12c is chatting here already" in shown
        assert "you  hello" in shown
        first.sees("[bob12c] you  hello")
        first.leave()


def test_what_could_not_be_sent_is_sent_by_the_next_chat(tmp_path: Path) -> None:
    """The cell dies, and so does the chat: what was typed is on disk, and there once when both are back."""
    with RunningCell(tmp_path) as cell:
        with chatting(cell, "ann", "bob") as ann:
            ann.sees("A new conversation")
            cell.kill()
            ann.sees("No connection")
            ann.type("typed without a cell")
            ann.sees("… on its way: “typed without a cell”")
            ann.process.kill()
        cell.start()
        assert "Still to be sent from last time: 1 message." in cell.run("chat", "ann").stdout
        for _ in range(2):
            cell.run("chat", "ann")
        until(lambda: "typed" in cell.run("history", "bob", "ann").stdout, "it is there")
        assert cell.run("history", "bob", "ann").stdout.count("typed without a cell") == 1


def test_notes_to_oneself(cell: RunningCell) -> None:
    """Who opens a conversation with oneself writes notes."""
    shown = cell.run("chat", "ann7c", "ann7c", given="note\n/list\n").stdout
    assert "── yourself ──" in shown
    assert "you  note" in shown


def test_it_goes_on_when_the_cell_comes_back(tmp_path: Path) -> None:
    """The cell is killed and started again: the chat says so, comes back by itself, sends what was typed, misses nothing."""
    with (
        RunningCell(tmp_path) as cell,
        chatting(cell, "ann", "bob") as ann,
        chatting(cell, "bob", "ann") as bob,
    ):
        ann.sees("A new conversation")
        bob.sees("A new conversation")
        ann.type("before")
        bob.sees("ann  before")
        cell.kill()
        ann.sees("No connection")
        ann.type("meanwhile")
        cell.start()
        bob.sees("ann  meanwhile")
        ann.sees("Connected again.")
        cell.signal(signal.SIGINT)
        assert cell.exit_code() == 0
        cell.start()
        bob.type("after")
        ann.sees("bob  after")
        bob.sees("ann  meanwhile")
        bob.sees("ann  before")
        ann.leave()
        bob.leave()


def test_ctrl_c_leaves_quietly(cell: RunningCell) -> None:
    """No traceback, and the exit code that shells know."""
    with cell.open("chat", "ann8c") as process:
        chat = Chat(process)
        chat.sees("You have no conversations yet")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""
