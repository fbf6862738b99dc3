"""What a line typed into `cell chat` means."""

from datetime import datetime
from typing import NamedTuple

from messaging_cell.chat_emoji import EMOJI
from messaging_cell.terminal_times import NotATime, time_of
from messaging_core.ids import is_user_id

COMMANDS = {
    "/with": ("USER...", "write to USER, or to several; opens the conversation"),
    "/list": ("", "your conversations; /list all shows more than the latest"),
    "/open": ("N", "open the conversation with number N in that list"),
    "/reply": ("N TEXT", "answer the message with number N"),
    "/react": ("[N] EMOJI", "react to message N, or to the last one"),
    "/unreact": ("[N] [EMOJI]", "take your reaction back"),
    "/more": ("", "earlier messages of this conversation"),
    "/newer": ("", "later ones, once you have gone back"),
    "/at": ("TIME", "messages around a time: 15:00, or 2026-11-20 15:00"),
    "/help": ("", "this"),
    "/quit": ("", "leave; what you miss is shown when you return"),
}
"""Each with what follows it, and what it does."""
HELP = "\n".join(
    [
        *(f"{f'{name} {takes}':21}{does}" for name, (takes, does) in COMMANDS.items()),
        "Anything else is sent. Begin with // to send a line that begins with /.",
        "The numbers are those at the left. Tab completes commands, names, numbers, and emoji: :heart",
    ]
)
_SHORT = {"/w": "/with", "/?": "/help", "/q": "/quit", "/exit": "/quit", "/l": "/list", "/r": "/reply"}
_MAX_KEY_BYTES = 64


class Say(NamedTuple):
    """Send a message."""

    text: str


class Reply(NamedTuple):
    """Answer a message that is shown with a number."""

    number: int
    text: str


class With(NamedTuple):
    """Open a conversation."""

    users: tuple[str, ...]


class OpenListed(NamedTuple):
    """Open a conversation of the list that was shown last."""

    number: int


class React(NamedTuple):
    """Add a reaction, or take one back; without a number the last message is meant, an empty key is one's own."""

    number: int | None
    key: str
    removed: bool


class More(NamedTuple):
    """Show what is before what was shown last, or behind it."""

    newer: bool


class At(NamedTuple):
    """Show messages around a time."""

    time: datetime


class ListAll(NamedTuple):
    """Show the conversations: the latest, or all."""

    everything: bool


class Help(NamedTuple):
    """Show what can be typed."""


class Quit(NamedTuple):
    """Leave."""


class Nothing(NamedTuple):
    """An empty line."""


class Wrong(NamedTuple):
    """A line that means nothing; why, for the user."""

    why: str


Line = Say | Reply | With | OpenListed | React | More | At | ListAll | Help | Quit | Nothing | Wrong


def read_line(line: str) -> Line:
    """What a line asks for."""
    text = line.strip()
    if not text:
        return Nothing()
    if text.startswith("//") or not text.startswith("/"):
        return Say(text.removeprefix("/") if text.startswith("//") else text)
    word, *rest = text.split(maxsplit=1)
    return _command(_SHORT.get(word, word), rest[0] if rest else "")


def _command(word: str, rest: str) -> Line:
    match word:
        case "/with":
            return _with(rest.replace(",", " ").split())
        case "/open":
            return _open(rest)
        case "/reply":
            return _reply(rest)
        case "/react":
            return _react(rest)
        case "/unreact":
            return _unreact(rest)
        case "/at":
            return _at(rest)
        case "/more" | "/newer":
            return More(word == "/newer")
        case "/list":
            return ListAll(rest == "all")
        case "/help":
            return Help()
        case "/quit":
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


def _open(rest: str) -> Line:
    number = _number(rest)
    return Wrong("Which? /open 2 opens the second of your /list.") if number is None else OpenListed(number)


def _reply(rest: str) -> Line:
    word, _, text = rest.partition(" ")
    number = _number(word)
    if number is None or not text.strip():
        return Wrong(
            "Answer which message, and what? For example: /reply 3 Yes. The numbers are at the left."
        )
    return Reply(number, text.strip())


def _react(rest: str) -> Line:
    word, _, key = rest.partition(" ")
    if key.strip() and (number := _number(word)) is not None:
        return _reaction(number, key.strip(), removed=False)
    if not rest:
        return Wrong("React with what? For example: /react 👍, or /react 3 👍 to message 3.")
    return _reaction(None, rest, removed=False)


def _unreact(rest: str) -> Line:
    word, _, key = rest.partition(" ")
    if (number := _number(word)) is not None:
        return _reaction(number, key.strip(), removed=True)
    return _reaction(None, rest, removed=True)


def _reaction(number: int | None, key: str, *, removed: bool) -> Line:
    if key.startswith(":"):
        key = EMOJI.get(key.strip(":"), key)
    if len(key.encode(errors="replace")) > _MAX_KEY_BYTES:
        return Wrong(f"A reaction is at most {_MAX_KEY_BYTES} bytes long, such as one emoji.")
    return React(number, key, removed)


def _at(rest: str) -> Line:
    try:
        return At(time_of(rest)) if rest else Wrong("At what time? For example: /at 15:00")
    except NotATime as error:
        return Wrong(str(error))


def _number(word: str) -> int | None:
    """The number of a message; `#3` is 3. Beyond six digits it is none."""
    digits = word.removeprefix("#")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 6 else None
