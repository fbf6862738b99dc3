"""What a cell says: updates, with as few words as a script needs."""

from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from cell.messaging.v1 import messaging_pb2 as messaging

USER = "ann"
CONVERSATION = "C" * 22
CELL_TIME_US = 1_000_000_000_000_000
"""The scripted cell's clock when a stream opens: far from every client's, for no client may trust its own."""
_UNKNOWN = b"\xc2\x3e\x02\x08\x01"
"""Field 1000, a message that holds field 1: what a later version of the contract may add to any message."""


def duration(seconds: float) -> Duration:
    """A length of time."""
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


def time(micros: int) -> Timestamp:
    """A point in time."""
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1_000)


def micros(at: Timestamp) -> int:
    """Microseconds since 1970."""
    return at.seconds * 1_000_000 + at.nanos // 1_000


def limits(retry_window_s: float = 30, **others: int) -> messaging.Limits:
    """What the scripted cell takes."""
    taken: dict[str, Any] = {
        "max_content_bytes": 65_536,
        "max_recipients": 1_000,
        "max_commands_per_frame": 64,
        "max_in_flight": 256,
        "max_sends_per_second": 1_000,
        "max_mark_participants": 16,
        "max_frame_bytes": 1_048_576,
    }
    return messaging.Limits(
        hello_timeout=duration(10), retry_window=duration(retry_window_s), **taken | others
    )


def welcome(
    taken: messaging.Limits,
    *,
    ping_interval_s: float = 60,
    token_lives_s: float | None = None,
    log: str = "log-1",
) -> messaging.Update:
    """The stream is open."""
    told = messaging.Welcome(
        user_id=USER,
        session_id="session",
        server_id="scripted",
        cell_id="conformance",
        limits=taken,
        server_time=time(CELL_TIME_US),
        ping_interval=duration(ping_interval_s),
        log_incarnation=log,
    )
    if token_lives_s is not None:
        told.token_expire_time.CopyFrom(time(CELL_TIME_US + int(token_lives_s * 1e6)))
    return messaging.Update(welcome=told)


def resumed(cursor: str, outcome: int = messaging.RESUME_OUTCOME_RESUMED) -> messaging.Update:
    """All that was missed has been sent."""
    return messaging.Update(resumed=messaging.Resumed(cursor=cursor, outcome=outcome))  # type: ignore[arg-type]


def checkpoint(cursor: str) -> messaging.Update:
    """There is nothing up to here."""
    return messaging.Update(checkpoint=messaging.Checkpoint(cursor=cursor))


def gap(after: str, until: str) -> messaging.Update:
    """Events were lost."""
    return messaging.Update(gap=messaging.Gap(after=after, until=until))


def message(
    cursor: str,
    text: str,
    *,
    sender_id: str = "bob",
    message_id: str = "",
    sent_at_us: int = CELL_TIME_US,
    notify: int = messaging.NOTIFY_LEVEL_NORMAL,
) -> messaging.Update:
    """A message that somebody sent."""
    ref = messaging.MessageRef(
        conversation_id=CONVERSATION,
        sender_id=sender_id,
        message_id=message_id or f"id-{cursor}",
        sent_at=time(sent_at_us),
    )
    told = messaging.Message(
        ref=ref,
        content=messaging.Content(text=text),
        notify=notify,  # type: ignore[arg-type]
    )
    return messaging.Update(event=messaging.Event(cursor=cursor, message=told))


def own(cursor: str, command: messaging.Command) -> messaging.Update:
    """The event of a message that the client under test has sent."""
    send = command.send_message
    update = message(cursor, "", sender_id=USER, message_id=send.message_id)
    update.event.message.content.CopyFrom(send.content)
    return update


def accepted(command: messaging.Command) -> messaging.Update:
    """The command is durable."""
    return messaging.Update(accepted=messaging.Accepted(command_id=command.command_id))


def rejected(
    command: messaging.Command,
    reason: int,
    *,
    outcome: int = messaging.REJECTED_OUTCOME_NOT_DONE,
    retry_after_s: float | None = None,
) -> messaging.Update:
    """The command was refused, or nobody knows."""
    told = messaging.Rejected(
        command_id=command.command_id,
        reason=reason,  # type: ignore[arg-type]
        outcome=outcome,  # type: ignore[arg-type]
        detail="by the script",
        message_id=command.send_message.message_id,
    )
    if retry_after_s is not None:
        told.retry_after.CopyFrom(duration(retry_after_s))
    return messaging.Update(rejected=told)


def go_away(reason: int, *, reconnect_after_s: float = 0, close_in_s: float = 60) -> messaging.Update:
    """Leave this stream soon."""
    told = messaging.GoAway(
        reason=reason,  # type: ignore[arg-type]
        reconnect_after=duration(reconnect_after_s),
        close_time=time(CELL_TIME_US + int(close_in_s * 1e6)),
    )
    return messaging.Update(go_away=told)


def cursor_of(update: messaging.Update) -> str:
    """The cursor that it gives; empty if it gives none."""
    kind = update.WhichOneof("update")
    return getattr(update, kind).cursor if kind in ("event", "resumed", "checkpoint") else ""


def retry_details(code: int, retry_after_s: float) -> bytes:
    """The details of a status (google.rpc.Status) that say when to come back."""
    status = status_pb2.Status(code=code, message="by the script")
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=duration(retry_after_s)))
    return status.SerializeToString()


def unknown_update() -> messaging.Update:
    """An update of a later version of the contract."""
    return messaging.Update.FromString(_UNKNOWN)


def unknown_event(cursor: str) -> messaging.Update:
    """An event of a later version of the contract."""
    event = messaging.Event.FromString(_UNKNOWN)
    event.cursor = cursor
    return messaging.Update(event=event)
