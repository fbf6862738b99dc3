"""Records of the log, as messaging servers and forwarders write them."""

from collections.abc import Iterable

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging


def message_event(sender: str, text: str, time_us: int = 1) -> messaging.Event:
    """A message, without its cursor."""
    ref = messaging.MessageRef(conversation_id="c" * 22, sender_id=sender, message_id=text)
    ref.sent_at.FromMicroseconds(time_us)
    return messaging.Event(message=messaging.Message(ref=ref, content=messaging.Content(text=text)))


def origin(
    sender: str,
    participants: Iterable[str],
    text: str,
    *,
    time_us: int = 1,
    command_id: str = "",
    digest: int = 1,
) -> log.Origin:
    """A message to these users, the sender among them."""
    users = sorted({sender, *participants})
    logged = log.LoggedEvent(
        kind=log.EVENT_KIND_MESSAGE,
        sender_id=sender,
        conversation_id="c" * 22,
        participant_count=len(users),
        event_time_us=time_us,
        event=message_event(sender, text, time_us).SerializeToString(),
    )
    return log.Origin(logged=logged, command_id=command_id, payload_digest=digest, participant_ids=users)


def origin_record(
    sender: str,
    participants: Iterable[str],
    text: str,
    *,
    time_us: int = 1,
    command_id: str = "",
    digest: int = 1,
) -> bytes:
    """The same, encoded as a record."""
    made = origin(sender, participants, text, time_us=time_us, command_id=command_id, digest=digest)
    return log.Record(origin=made).SerializeToString()
