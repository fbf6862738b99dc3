"""What a line typed into `cell chat` means."""

from datetime import datetime
from typing import NamedTuple

from messaging_cell.commands.common import time_of
from messaging_core.ids import is_user_id

HELP = """\
/with USER...        write to USER, or to several; opens the conversation
/list                your conversations
/history             earlier messages of this conversation
/history TIME        messages around a time: 15:00, or 2026-11-20 15:00
/react EMOJI         react to the last message
/unreact [EMOJI]     take your reaction back
/help                this
/quit                leave; what you miss is shown when you return
Anything else is sent. Begin with // to send a line that begins with /."""
COMMANDS = ("/with", "/list", "/history", "/react", "/unreact", "/help", "/quit")
_MAX_KEY_BYTES = 64


class Say(NamedTuple):
    """Send a message."""

    text: str


class With(NamedTuple):
    """Open a conversation."""

    users: tuple[str, ...]


class React(NamedTuple):
    """Add a reaction, or take one back; an empty key is the last one given."""

    key: str
    removed: bool


class History(NamedTuple):
    """Show earlier messages, or those around a time."""

    at: datetime | None


class ListAll(NamedTuple):
    """Show the conversations."""


class Help(NamedTuple):
    """Show what can be typed."""


class Quit(NamedTuple):
    """Leave."""


class Nothing(NamedTuple):
    """An empty line."""


class Wrong(NamedTuple):
    """A line that means nothing; why, for the user."""

    why: str


Line = Say | With | React | History | ListAll | Help | Quit | Nothing | Wrong


def read_line(line: str) -> Line:
    """What a line asks for."""
    text = line.strip()
    if not text:
        return Nothing()
    if text.startswith("//") or not text.startswith("/"):
        return Say(text.removeprefix("/") if text.startswith("//") else text)
    word, _, rest = text.partition(" ")
    return _command(word, rest.strip())


def _command(word: str, rest: str) -> Line:
    match word:
        case "/with" | "/w":
            return _with(rest.replace(",", " ").split())
        case "/react":
            return _react(rest, removed=False) if rest else Wrong("React with what? For example: /react 👍")
        case "/unreact":
            return _react(rest, removed=True)
        case "/history":
            return _history(rest)
        case "/list":
            return ListAll()
        case "/help" | "/?":
            return Help()
        case "/quit" | "/exit" | "/q":
            return Quit()
        case _:
            return Wrong(f"There is no {word}; /help shows what there is. To send it as text write /{word}.")


def _with(users: list[str]) -> Line:
    if not users:
        return Wrong("With whom? For example: /with bob")
    for user in users:
        if not is_user_id(user):
            return Wrong(f"{user} is not a user id: 1 to 255 visible ASCII characters.")
    return With(tuple(dict.fromkeys(users)))


def _react(key: str, *, removed: bool) -> Line:
    if len(key.encode(errors="replace")) > _MAX_KEY_BYTES:
        return Wrong(f"A reaction is at most {_MAX_KEY_BYTES} bytes long, such as one emoji.")
    return React(key, removed)


def _history(rest: str) -> Line:
    try:
        return History(time_of(rest) if rest else None)
    except ValueError:
        return Wrong(f"{rest} is no time; write 15:00, or 2026-11-20 15:00.")
