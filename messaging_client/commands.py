"""Commands as the contract has them, from what an application says."""

import os
import time
from collections.abc import Iterable

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client import wire
from messaging_client.outgoing import Outgoing
from messaging_client.values import Content, HistoryMessage, Message, MessageRef, NotifyLevel

Users = str | Iterable[str]
"""One user, or several."""
AnyMessage = Message | HistoryMessage | MessageRef
"""Whatever names a message."""


_NOTIFY_LEVELS = {level: level.name_of_contract for level in NotifyLevel}


def new_id() -> str:
    """A UUIDv7 (RFC 9562): the time in milliseconds, and 74 random bits. Two tries of a send share it."""
    now = f"{time.time_ns() // 1_000_000 & 0xFFFFFFFFFFFF:012x}"
    random = os.urandom(10).hex()
    variant = "89ab"[int(random[3], 16) & 3]
    return f"{now[:8]}-{now[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:19]}"


def users(named: Users) -> list[str]:
    """User ids in the order given, none twice."""
    return list(dict.fromkeys([named] if isinstance(named, str) else named))


def ref_of(message: AnyMessage) -> MessageRef:
    """The name of a message."""
    if isinstance(message, HistoryMessage):
        message = message.message
    return message.ref if isinstance(message, Message) else message


def send_message(
    content: str | Content,
    to: Users,
    conversation_id: str,
    reply_to: AnyMessage | None,
    notify: NotifyLevel,
    message_id: str,
) -> Outgoing:
    """A message. Raises ValueError unless there is exactly one of `to` and `conversation_id`."""
    recipients = users(to)
    if bool(recipients) == bool(conversation_id):
        raise ValueError("a message goes either to users or to a conversation")
    encoded = wire.content_to(Content(text=content) if isinstance(content, str) else content)
    send = messaging.SendMessage(
        message_id=message_id or new_id(), content=encoded, notify=_NOTIFY_LEVELS[notify]
    )
    if conversation_id:
        send.conversation_id = conversation_id
    else:
        send.recipients.user_ids.extend(recipients)
    if reply_to is not None:
        send.reply_to.CopyFrom(wire.ref_to(ref_of(reply_to)))
    lane = conversation_id or "to " + " ".join(sorted(recipients))
    return Outgoing(send.message_id, lane, messaging.Command(send_message=send))


def react(message: AnyMessage, key: str, participants: Users, *, removed: bool) -> Outgoing:
    """A reaction, or one taken back."""
    ref, command = wire.ref_to(ref_of(message)), messaging.Command()
    change: messaging.React | messaging.Unreact = command.unreact if removed else command.react
    change.reaction_id = new_id()
    change.message.CopyFrom(ref)
    change.key = key
    if participants:
        change.participants.user_ids.extend(users(participants))
    lane = f"react {ref.conversation_id} {ref.sender_id} {ref.message_id}"
    return Outgoing(change.reaction_id, lane, command)


def mark_read(message: AnyMessage, participants: Users) -> Outgoing:
    """A read mark."""
    command = messaging.Command()
    command.mark_read.through.CopyFrom(wire.ref_to(ref_of(message)))
    if participants:
        command.mark_read.participants.user_ids.extend(users(participants))
    return Outgoing(new_id(), f"read {command.mark_read.through.conversation_id}", command)
