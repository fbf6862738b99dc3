"""What the SDK is sent: frames of a server, answers of history, failed calls."""

import random
import sqlite3
from contextlib import closing, suppress
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from hypothesis import example
from hypothesis import strategies as st

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client import status, wire
from messaging_client.errors import ClientFailed
from messaging_client.protocol import Protocol
from messaging_client.store import _TABLES, _read
from messaging_client.values import HistoryMessage
from tests.fuzz.application import SETTINGS, Application, look_at_conversation, look_at_message
from tests.fuzz.strategies import (
    CURSOR_TEXT,
    DURATIONS,
    ID,
    INT32,
    INT64,
    REFS,
    TEXT,
    TIMES,
    UINT64,
    USER_ID,
    a,
    encodings,
    maybe,
)
from tests.fuzz.subjects import subject
from tests.fuzz.test_records import EVENTS, MESSAGES

ENUMS = st.integers(0, 20) | INT32
COMMAND_IDS = st.integers(0, 6) | UINT64
LIMITS = st.builds(
    messaging.Limits,
    max_content_bytes=INT32,
    max_recipients=INT32,
    max_commands_per_frame=st.integers(-1, 3) | INT32,
    max_in_flight=st.integers(-1, 3) | INT32,
    retry_window=maybe(DURATIONS),
)
UPDATES = st.one_of(
    a(messaging.Update, event=st.builds(lambda event, cursor: _at(event, cursor), EVENTS, CURSOR_TEXT)),
    a(messaging.Update, accepted=a(messaging.Accepted, command_id=COMMAND_IDS)),
    a(
        messaging.Update,
        rejected=a(
            messaging.Rejected,
            command_id=COMMAND_IDS,
            reason=ENUMS,
            outcome=ENUMS,
            retry_after=maybe(DURATIONS),
            field=TEXT,
            limit=INT64,
            detail=TEXT,
            message_id=ID,
        ),
    ),
    a(messaging.Update, pong=a(messaging.Pong, command_id=COMMAND_IDS, server_time=maybe(TIMES))),
    a(
        messaging.Update,
        welcome=a(
            messaging.Welcome,
            user_id=st.sampled_from(("ann", "ann", "bob", "")),
            log_incarnation=st.sampled_from(("log-1", "log-1", "log-2", "")),
            limits=maybe(LIMITS),
            server_time=maybe(TIMES),
            token_expire_time=maybe(TIMES),
            ping_interval=maybe(DURATIONS),
        ),
    ),
    a(messaging.Update, gap=a(messaging.Gap, after=CURSOR_TEXT, until=CURSOR_TEXT)),
    a(
        messaging.Update,
        go_away=a(messaging.GoAway, reason=ENUMS, reconnect_after=maybe(DURATIONS), close_time=maybe(TIMES)),
    ),
    a(messaging.Update, resumed=a(messaging.Resumed, cursor=CURSOR_TEXT, outcome=ENUMS)),
    a(messaging.Update, checkpoint=a(messaging.Checkpoint, cursor=CURSOR_TEXT)),
)
FRAMES = encodings(
    st.builds(lambda updates: messaging.ConnectResponse(updates=updates), st.lists(UPDATES, max_size=4))
)
CODES = st.sampled_from([code.name for code in grpc.StatusCode])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("frame"), FRAMES),
        st.tuples(st.just("post"), st.integers(0, 3)),
        st.tuples(st.just("send"), st.integers(0, 3)),
        st.tuples(st.just("write"), st.integers(1, 3)),
        st.tuples(st.just("take"), st.integers(1, 3)),
        st.tuples(st.just("wait"), st.sampled_from((0.1, 1.0, 40.0))),
        st.tuples(st.just("end"), CODES),
        st.tuples(st.just("loaded"), CURSOR_TEXT),
    ),
    max_size=12,
)


def _at(event: messaging.Event, cursor: str) -> messaging.Event:
    moved = messaging.Event()
    moved.CopyFrom(event)
    moved.cursor = cursor
    return moved


@subject(share=15, steps=STEPS)
def test_server_frames(steps: list[tuple[str, Any]]) -> None:
    """Whatever a server sends, the client goes on or fails by name, and what it gives out and keeps is well formed."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as store:
        store.executescript(_TABLES)
        application = Application(store)
        for name, how in [("take", 1), *steps]:
            application.step(name, how)
        kept = _read(store)
        Protocol(SETTINGS, kept, random.Random(1))
        assert isinstance(application.protocol.failure, ClientFailed | None)


SHOWN = st.builds(
    history.HistoryMessage,
    message=maybe(MESSAGES),
    reactions=st.lists(
        st.builds(
            history.Reaction,
            key=TEXT,
            count=INT32,
            user_ids=st.lists(USER_ID, max_size=2),
            mine=st.booleans(),
        ),
        max_size=2,
    ),
)
CONVERSATIONS = st.builds(
    history.Conversation,
    conversation_id=TEXT,
    kind=ENUMS,
    participant_ids=st.lists(USER_ID, max_size=3),
    last_message=maybe(SHOWN),
    unread_count=INT32,
    read_through=maybe(REFS),
    peer_marks=st.lists(
        st.builds(history.PeerMarks, user_id=USER_ID, received_through=maybe(REFS), read_through=maybe(REFS)),
        max_size=2,
    ),
)


@subject(share=4, short=50, data=encodings(CONVERSATIONS), shown=SHOWN)
def test_history_answers(data: bytes, shown: history.HistoryMessage) -> None:
    """Whatever history answers is a value that an application can look at."""
    with suppress(DecodeError):
        look_at_conversation(wire.conversation_from(history.Conversation.FromString(data)))
    message: HistoryMessage = wire.history_message_from(shown)
    look_at_message(message.message)


STATUS, INFO, RETRY = status._Status, status._ErrorInfo, status._RetryInfo


def _status(details: list[tuple[str, bytes]]) -> bytes:
    made = STATUS()
    for name, value in details:
        made.details.add(type_url=f"type.googleapis.com/google.rpc.{name}", value=value)
    return bytes(made.SerializeToString())


def _retry(delay: Duration) -> Any:
    made = RETRY()
    made.retry_delay.seconds, made.retry_delay.nanos = delay.seconds, delay.nanos
    return made


INFOS = st.builds(
    lambda reason, limit, field: INFO(reason=reason, metadata={"limit": limit, "field": field}),
    st.sampled_from(("TOO_LARGE", "CURSOR_INVALID", "?")),
    st.sampled_from(("1", "-1", "\u0663", "9" * 5_000, "\u00b2")) | TEXT,
    TEXT,
)
DETAILS = st.lists(
    st.one_of(
        st.tuples(st.just("ErrorInfo"), encodings(INFOS)),
        st.tuples(st.just("RetryInfo"), encodings(DURATIONS.map(_retry))),
    ),
    max_size=3,
).map(_status)


@subject(
    share=60,
    code=st.sampled_from(list(grpc.StatusCode)),
    details=maybe(TEXT),
    trailer=st.one_of(DETAILS, st.binary(max_size=20), TEXT),
)
@example(grpc.StatusCode.UNAVAILABLE, None, _status([("ErrorInfo", b"\xff")]))
@example(
    grpc.StatusCode.UNAVAILABLE,
    None,
    _status([("ErrorInfo", INFO(metadata={"limit": "9" * 5_000}).SerializeToString())]),
)
def test_failed_calls(code: grpc.StatusCode, details: str | None, trailer: bytes | str) -> None:
    """Whatever stands in the trailers of a failed call, by whomever: it is an end and a failure of this package."""
    metadata = grpc.aio.Metadata(("grpc-status-details-bin", trailer), ("x", "y"))
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, details=details)
    end = status.end_of(error)
    assert end.code == code.name
    failure = status.failure_of(error)
    assert str(failure)
    assert isinstance(failure.limit, int)
