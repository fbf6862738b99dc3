"""How a stream opens: what hello may say, where it starts, and the welcome it gets."""

from typing import NamedTuple

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.clock import wall_us
from messaging_core.cursor import Cursor, CursorInvalid, decode_cursor
from messaging_core.events import update_piece
from messaging_core.identity import Identity
from messaging_core.limits import RETRY_WINDOW_S, Limits
from messaging_core.refusals import Refused
from messaging_server.commands import LAST_US
from messaging_server.content import too_large, utf8_bytes
from messaging_server.pieces import duration, timestamp
from messaging_server.settings import ServerSettings

MAX_CLIENT_ID_BYTES = 64
MAX_CLIENT_INFO_BYTES = 128
MAX_FEATURES = 32
MAX_FEATURE_BYTES = 64


class Start(NamedTuple):
    """Where a stream starts."""

    outcome: "messaging.ResumeOutcome"
    """What `resumed` will say."""
    after: Cursor | None
    """The cursor to start after; None for the log's end as it is once the stream is open."""
    time_us: int
    """A time the client has seen (I12)."""


def cursor_invalid(field: str) -> Refused:
    """The same for what is no cursor and for a cursor of someone else."""
    return Refused(messaging.REJECTED_REASON_CURSOR_INVALID, "not a cursor of this user", field)


def own_cursor(text: str, partition: int, incarnation: bytes, field: str) -> Cursor | None:
    """A cursor that the client gives back; None if it is of another log. Raises Refused."""
    try:
        cursor = decode_cursor(text)
    except CursorInvalid:
        raise cursor_invalid(field) from None
    if cursor.incarnation != incarnation:
        return None
    if cursor.partition != partition:
        raise cursor_invalid(field)
    return cursor


def read_hello(hello: messaging.Hello, partition: int, incarnation: bytes) -> Start:
    """Where a stream with this hello starts. Raises Refused."""
    _check_bounds(hello)
    if hello.WhichOneof("start") != "resume_after":
        return Start(messaging.RESUME_OUTCOME_LIVE, None, 0)
    if not hello.resume_after:
        return Start(messaging.RESUME_OUTCOME_RESUMED, Cursor(incarnation, partition, -1, 0), 0)
    cursor = own_cursor(hello.resume_after, partition, incarnation, "hello.resume_after")
    if cursor is None:
        return Start(messaging.RESUME_OUTCOME_RESET, None, decode_cursor(hello.resume_after).time_us)
    return Start(messaging.RESUME_OUTCOME_RESUMED, cursor, cursor.time_us)


def _check_bounds(hello: messaging.Hello) -> None:
    if utf8_bytes(hello.client_id) > MAX_CLIENT_ID_BYTES:
        raise too_large("hello.client_id", "bytes", MAX_CLIENT_ID_BYTES)
    if utf8_bytes(hello.client_info) > MAX_CLIENT_INFO_BYTES:
        raise too_large("hello.client_info", "bytes", MAX_CLIENT_INFO_BYTES)
    if len(hello.features) > MAX_FEATURES:
        raise too_large("hello.features", "number of features", MAX_FEATURES)
    if any(utf8_bytes(feature) > MAX_FEATURE_BYTES for feature in hello.features):
        raise too_large("hello.features", "bytes of a feature", MAX_FEATURE_BYTES)


def welcome_piece(identity: Identity, session_id: str, settings: ServerSettings, incarnation: bytes) -> bytes:
    """The stream is open."""
    welcome = messaging.Welcome(
        user_id=identity.user_id,
        session_id=session_id,
        server_id=settings.server_id,
        cell_id=settings.cell_id,
        limits=limits_told(settings.limits),
        server_time=timestamp(wall_us()),
        ping_interval=duration(settings.limits.ping_interval_s),
        log_incarnation=incarnation.hex(),
    )
    if identity.expires_at_s is not None:
        welcome.token_expire_time.CopyFrom(timestamp(int(min(identity.expires_at_s * 1_000_000, LAST_US))))
    return update_piece(messaging.Update(welcome=welcome))


def limits_told(limits: Limits) -> messaging.Limits:
    """The limits as clients are told them."""
    return messaging.Limits(
        max_content_bytes=limits.max_content_bytes,
        max_recipients=limits.max_recipients,
        max_commands_per_frame=limits.max_commands_per_frame,
        max_in_flight=limits.max_in_flight,
        max_sends_per_second=limits.max_sends_per_second,
        max_mark_participants=limits.max_mark_participants,
        hello_timeout=duration(limits.hello_timeout_s),
        retry_window=duration(RETRY_WINDOW_S),
        max_frame_bytes=limits.max_frame_bytes,
    )
