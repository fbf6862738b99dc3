"""How messages, events and conversations look in a terminal."""

from collections.abc import Iterable, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from messaging_cell.terminal_safety import one_line, printable
from messaging_cell.terminal_times import show_time
from messaging_client import (
    CallFailed,
    CellEvent,
    Content,
    Conversation,
    Message,
    MessageRef,
    NewMessage,
    NotDone,
    Reaction,
    ReactionChanged,
    ReadMark,
)

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")
_SNIPPET_CELLS = 40
_NAMES_SHOWN = 4
_INDENT = " " * 6
_TROUBLES = {
    "Connection refused": "nobody answers there",
    "Socket closed": "the connection broke",
    "Connection reset": "the connection broke",
    "connection attempt timed out": "nobody answers there",
}


def snippet(text: str) -> str:
    """The beginning of a text, in one line of at most so many columns: wide characters take two."""
    shown = Text(one_line(text))
    shown.truncate(_SNIPPET_CELLS, overflow="ellipsis")
    return shown.plain


def colour_of(name: str) -> str:
    """The same for a name every time."""
    return _COLOURS[sum(name.encode()) % len(_COLOURS)]


def body(content: Content) -> str:
    """What a message says, in one line or more."""
    parts = [printable(content.text)] if content.text else []
    if content.data:
        named = one_line(content.attributes.get("filename", ""))
        about = ", ".join(
            filter(None, (named, one_line(content.content_type), f"{len(content.data):,} bytes"))
        )
        parts.append(f"({about})")
    parts += [
        f"[{one_line(item.name)}: {one_line(item.uri)}]" if item.name else f"[{one_line(item.uri)}]"
        for item in content.attachments
    ]
    return "\n".join(parts)


def quote(message: Message, reader: str) -> str:
    """A message that another one answers, in a few words."""
    return (
        f"↳ {'you' if message.sender_id == reader else message.sender_id}: {snippet(body(message.content))}"
    )


def tally(reactions: Mapping[str, int]) -> Text:
    """Reactions behind a message, with their numbers."""
    text = Text()
    for key, count in reactions.items():
        text.append(f"  {one_line(key)}{f' {count}' if count > 1 else ''}", "yellow")
    return text


def counts(reactions: Iterable[Reaction]) -> dict[str, int]:
    """How many of each."""
    return {each.key: each.count for each in reactions}


def message_text(
    message: Message,
    reader: str,
    reactions: Mapping[str, int] | None = None,
    *,
    conversation: str = "",
    answers: str = "",
) -> Text:
    """A message: what it answers, when, in which conversation if that is to be said, who, what, and its reactions."""
    sender = message.sender_id
    text = Text.assemble((show_time(message.sent_at), "dim"), " ")
    if conversation:
        text.append(f"[{conversation}] ", f"bold {colour_of(conversation)}")
    if sender == reader:
        text.append("you ", "bold")
    elif sender != conversation:
        text.append(f"{sender} ", f"bold {colour_of(sender)}")
    text.append(" ")
    if answers:
        text.append(f"{answers}\n", "dim")
    text.append(body(message.content)).append_text(tally(reactions or {}))
    return text


def event_text(event: CellEvent, reader: str) -> Text:
    """An event by itself, in one line or more."""
    match event:
        case NewMessage(message=message):
            return message_text(message, reader)
        case ReactionChanged():
            what = "takes back" if event.removed else "reacts"
            text = _about(f"{event.user_id} {what} {one_line(event.key)}", event.message)
            return Text.assemble((show_time(event.changed_at), "dim"), " ", (text, "dim"))
        case _:
            what = "has read" if isinstance(event, ReadMark) else "has received"
            text = _about(f"{event.user_id} {what}", event.through)
            return Text.assemble((show_time(event.through.sent_at), "dim"), " ", (text, "dim"))


def _about(what: str, ref: MessageRef) -> str:
    return f"{what} (message {ref.message_id} of {ref.sender_id})"


def conversation_text(conversation: Conversation, reader: str, width: int) -> Text:
    """A conversation in a line: with whom, how much is unread, what was said last."""
    last = conversation.last_message
    count = conversation.unread_count
    unread = f"{count if count < 1_000 else '999+'} unread" if count else ""
    text = Text.assemble((names(conversation.participant_ids, reader).ljust(width), "bold"))
    text.append(f"  {unread:11}", "yellow")
    if last is not None:
        said = snippet(body(last.message.content))
        text.append(f"  {show_time(last.message.sent_at)} {said}", "dim")
    return text


def refusal_text(error: NotDone | CallFailed) -> str:
    """Why the cell said no: in its words, with the field and the limit."""
    about = [error.field] if error.field and error.field not in error.detail else []
    about += [f"at most {error.limit:,}"] if error.limit and str(error.limit) not in error.detail else []
    named = f" ({', '.join(about)})" if about else ""
    return f"{one_line(error.detail).rstrip('.')}{named}."


def trouble_text(trouble: str) -> str:
    """Why there is no stream, in words for people where the words are grpc's."""
    for sign, meaning in _TROUBLES.items():
        if sign in trouble:
            return meaning
    return one_line(trouble).rstrip(".") or "the connection broke"


def counted(messages: int) -> str:
    """A number of messages in words."""
    return f"{messages:,} message{'' if messages == 1 else 's'}"


def names(participants: Sequence[str], reader: str) -> str:
    """How a conversation is called by one who is in it."""
    others = [user for user in participants if user != reader]
    if len(others) > _NAMES_SHOWN:
        return f"{', '.join(others[:_NAMES_SHOWN])} +{len(others) - _NAMES_SHOWN}"
    return ", ".join(others) if others else "yourself"


def names_width(conversations: Iterable[Conversation], reader: str) -> int:
    """How wide a column of their names is, within reason."""
    return min(40, max((len(names(each.participant_ids, reader)) for each in conversations), default=0))


def hanging(text: Text, first: str = "", indent: str = _INDENT, broken_by: Console | None = None) -> Text:
    """A text whose further lines are indented, so that nothing that is said can look like a line of its own.

    `first` stands before the first line. A console, if one is given, says how wide lines may be: longer ones are broken,
    between words where that goes.
    """
    lines = list(text.split("\n", allow_blank=True))
    if broken_by is not None:
        room = max(10, broken_by.width - max(cell_len(first), len(indent)))
        lines = [piece for line in lines for piece in (line.wrap(broken_by, room) or [line])]
    shown = Text(first, "dim")
    for number, each in enumerate(lines):
        shown.append(f"\n{indent}" if number else "")
        shown.append_text(each)
    return shown


class _Output(Console):
    """Says like any other file that nobody reads on, where rich would end the program itself."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def terminal(*, is_one: bool = False) -> Console:
    """Standard output, as all commands print to it: text as it is, whose long lines a terminal breaks itself.

    `is_one`: it is known to be a terminal, although something stands before it.
    """
    return _Output(highlight=False, soft_wrap=True, emoji=False, markup=False, force_terminal=is_one or None)
