"""Updates of the server's own making, as pieces of a frame."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.cursor import Cursor
from messaging_core.events import update_piece
from messaging_core.refusals import Refused
from messaging_core.wire import varint

_MAX_DETAIL_CHARS = 300


def timestamp(time_us: int) -> Timestamp:
    """Microseconds since 1970 as a Timestamp."""
    return Timestamp(seconds=time_us // 1_000_000, nanos=time_us % 1_000_000 * 1_000)


def duration(seconds: float) -> Duration:
    """Seconds as a Duration, to the microsecond."""
    micros = int(seconds * 1_000_000)
    return Duration(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1_000)


def accepted_piece(command_id: int) -> bytes:
    """The outcome that every durable command gets; joined by hand, because it is on the hot path."""
    number = varint(command_id)
    size = len(number) + 1
    return b"".join((b"\x0a", varint(size + 2), b"\x12", varint(size), b"\x08", number))


def pong_piece(command_id: int, time_us: int) -> bytes:
    """The answer to a ping."""
    return update_piece(messaging.Update(pong=pong(command_id, time_us)))


def pong(command_id: int, time_us: int) -> messaging.Pong:
    """The answer to a ping."""
    return messaging.Pong(command_id=command_id, server_time=timestamp(time_us))


def rejected(command_id: int, message_id: str, refused: Refused) -> messaging.Rejected:
    """The outcome of a command that was refused."""
    seconds = refused.retry_seconds()
    return messaging.Rejected(
        command_id=command_id,
        reason=refused.reason,
        outcome=refused.outcome,
        retry_after=None if seconds is None else duration(seconds),
        field=refused.field,
        limit=refused.limit,
        detail=refused.detail[:_MAX_DETAIL_CHARS],
        message_id=message_id,
    )


def rejected_piece(command_id: int, message_id: str, refused: Refused) -> bytes:
    """The piece that tells a refusal."""
    return update_piece(messaging.Update(rejected=rejected(command_id, message_id, refused)))


def resumed_piece(cursor: Cursor, outcome: "messaging.ResumeOutcome") -> bytes:
    """All that was missed has been sent."""
    return update_piece(messaging.Update(resumed=messaging.Resumed(cursor=cursor.encode(), outcome=outcome)))


def checkpoint_piece(cursor: Cursor) -> bytes:
    """There is nothing for this client up to here."""
    return update_piece(messaging.Update(checkpoint=messaging.Checkpoint(cursor=cursor.encode())))


def go_away_piece(reason: "messaging.GoAwayReason", reconnect_after_s: float, close_time_us: int) -> bytes:
    """Leave this stream."""
    go_away = messaging.GoAway(
        reason=reason, reconnect_after=duration(reconnect_after_s), close_time=timestamp(close_time_us)
    )
    return update_piece(messaging.Update(go_away=go_away))
