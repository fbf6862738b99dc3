"""How messages and events look in a terminal."""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.text import Text

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_cell.commands.common import show_time

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, with which a message could move the cursor or set colours, and those that turn the direction of what
follows."""
_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")


def printable(text: str) -> str:
    """Text of others, harmless to a terminal."""
    return _UNSAFE.sub("�", text.expandtabs(4))


def colour_of(name: str) -> str:
    """The same for a name every time."""
    return _COLOURS[sum(name.encode()) % len(_COLOURS)]


def moment(timestamp: Timestamp) -> datetime:
    """A protobuf time; years that Python has no name for come out as the nearest one."""
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC, year=2 if timestamp.seconds < 0 else 9998)


def body(content: messaging.Content) -> str:
    """What a message says, in one line or more."""
    parts = []
    if content.WhichOneof("body") == "text":
        parts.append(printable(content.text))
    elif content.WhichOneof("body") == "data":
        parts.append(f"({printable(content.content_type)}, {len(content.data):,} bytes)")
    parts += [f"[{printable(item.name or item.uri)}: {printable(item.uri)}]" for item in content.attachments]
    return "\n".join(parts)


def message_text(
    message: messaging.Message,
    reader: str,
    reactions: Iterable[history.Reaction] = (),
    conversation: str = "",
) -> Text:
    """A message: when, in which conversation if that is to be said, who, what, and its reactions."""
    sender = message.ref.sender_id
    text = Text.assemble((show_time(moment(message.ref.sent_at)), "dim"), " ")
    if conversation:
        text.append(f"[{conversation}] ", f"bold {colour_of(conversation)}")
    if sender == reader:
        text.append("you ", "bold")
    elif sender != conversation:
        text.append(f"{sender} ", f"bold {colour_of(sender)}")
    text.append(" ")
    indent = "\n" + " " * 6
    text.append(body(message.content).replace("\n", indent))
    for reaction in reactions:
        count = f" {reaction.count}" if reaction.count > 1 else ""
        text.append(f"  {printable(reaction.key)}{count}", "yellow")
    return text


def event_text(event: messaging.Event, reader: str) -> Text | None:
    """An event in one line; None for kinds that this program does not know."""
    match event.WhichOneof("event"):
        case "message":
            return message_text(event.message, reader)
        case "reaction_changed":
            change = event.reaction_changed
            what = "takes back" if change.removed else "reacts"
            return _line(
                change.changed_at, f"{change.user_id} {what} {printable(change.key)}", change.message
            )
        case "received_mark":
            mark = event.received_mark
            return _line(mark.through.sent_at, f"{mark.user_id} has received", mark.through)
        case "read_mark":
            mark_read = event.read_mark
            return _line(mark_read.through.sent_at, f"{mark_read.user_id} has read", mark_read.through)
        case _:
            return None


def _line(when: Timestamp, what: str, ref: messaging.MessageRef) -> Text:
    shown = f"{what} (message {ref.message_id} of {ref.sender_id})"
    return Text.assemble((show_time(moment(when)), "dim"), " ", (shown, "dim"))


def json_line(message: Message) -> str:
    """A message of the contract as one line of JSON, with the proto's own field names."""
    as_dict: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return json.dumps(as_dict, ensure_ascii=False)


def names(participants: Sequence[str], reader: str) -> str:
    """How a conversation is called by one who is in it."""
    others = [user for user in participants if user != reader]
    return ", ".join(others) if others else "yourself"
