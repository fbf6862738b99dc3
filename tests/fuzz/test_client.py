"""What the SDK is sent and what it has kept: frames of a server, answers of history, failed calls, a damaged store."""

import random
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from hypothesis import example
from hypothesis import strategies as st

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client import status, wire
from messaging_client.commands import mark_read, react, send_message
from messaging_client.errors import ClientFailed, MessagingError, StoreFailed
from messaging_client.events import Event, NewMessage, ReactionChanged, ReadMark, ReceivedMark, Snapshot
from messaging_client.kept import Kept, KeptCommand
from messaging_client.protocol import Protocol
from messaging_client.settings import ClientSettings
from messaging_client.steps import Connect, End, Load
from messaging_client.store import _TABLES, FileStore, _apply, _read
from messaging_client.values import Conversation, HistoryMessage, Message, MessageRef, NotifyLevel
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

SETTINGS = ClientSettings(max_event_bytes=20_000)
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


class Application:
    """A protocol with a store behind it, in the hands of an application that looks at everything it is given."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self.store = store
        self.now_s = 1_000.0
        self.protocol = Protocol(SETTINGS, Kept(), random.Random(1))
        self._posted = 0

    def step(self, name: str, how: Any) -> None:
        getattr(self, name)(how)
        self.protocol.outbox.settled.clear()
        for change in self.protocol.take_journal():
            _apply(self.store, change)
        if self.protocol.stream is None:
            self._go_on()
        assert self.protocol.due_s(self.now_s) == self.protocol.due_s(self.now_s), "not a number"

    def frame(self, data: bytes) -> None:
        try:
            updates = messaging.ConnectResponse.FromString(data).updates
        except DecodeError:
            return self.end("INTERNAL")
        return self.protocol.received(updates, self.now_s)

    def post(self, kind: int) -> None:
        self._submit(kind, posted=True)

    def send(self, kind: int) -> None:
        self._submit(kind, posted=False)

    def _submit(self, kind: int, *, posted: bool) -> None:
        self._posted += 1
        ref = MessageRef("c" * 22, "bob", f"m{kind}", 1)
        makers = (
            lambda: send_message("hi", "bob", "", None, NotifyLevel.NORMAL, f"m{self._posted}"),
            lambda: send_message("hi", (), "c" * 22, ref, NotifyLevel.NORMAL, f"m{self._posted}"),
            lambda: react(ref, "+", ("bob",), removed=False),
            lambda: mark_read(ref, ()),
        )
        with suppress(MessagingError):
            self.protocol.submit(makers[kind](), posted=posted)

    def write(self, times: int) -> None:
        for _ in range(times):
            self.protocol.on_time(self.now_s)
            frame = self.protocol.next_frame(self.now_s)
            if frame is not None:
                assert frame.SerializeToString()

    def take(self, times: int) -> None:
        for _ in range(times):
            event = self.protocol.hand_over(self.now_s)
            if event is not None:
                look_at(event)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.protocol.on_time(self.now_s)
        if self.protocol.wants_end(self.now_s):
            self.end("CANCELLED")

    def end(self, code: str) -> None:
        if self.protocol.stream is not None:
            self.protocol.stream_ended(End(code), self.now_s)

    def loaded(self, cursor: str) -> None:
        if isinstance(self.protocol.next_step(self.now_s), Load) and self.protocol.stream is None:
            self.protocol.loaded(cursor, (), True, (), self.now_s)

    def _go_on(self) -> None:
        self.now_s += 1.0
        if isinstance(self.protocol.next_step(self.now_s), Connect):
            assert self.protocol.connect(self.now_s).SerializeToString()


def look_at(event: Event) -> None:
    """What an application may ask of an event."""
    match event:
        case NewMessage():
            look_at_message(event.message)
        case ReactionChanged():
            assert event.changed_at.tzinfo
            look_at_ref(event.message)
        case ReceivedMark() | ReadMark():
            look_at_ref(event.through)
        case Snapshot():
            for conversation in event.conversations:
                look_at_conversation(conversation)


def look_at_ref(ref: MessageRef) -> None:
    assert ref.sent_at.tzinfo
    assert wire.ref_from(wire.ref_to(ref)) == ref


def look_at_message(message: Message) -> None:
    look_at_ref(message.ref)
    if message.reply_to is not None:
        look_at_ref(message.reply_to)
    with suppress(ValueError):
        assert wire.content_to(message.content).IsInitialized()


def look_at_conversation(conversation: Conversation) -> None:
    if conversation.last_message is not None:
        look_at_message(conversation.last_message.message)
    refs = [conversation.read_through]
    for peer in conversation.peer_marks:
        refs += [peer.received_through, peer.read_through]
    for ref in filter(None, refs):
        look_at_ref(ref)


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


@subject(share=4, data=encodings(CONVERSATIONS), shown=SHOWN)
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


GOOD_COMMAND = send_message("hi", "bob", "", None, NotifyLevel.NORMAL, "m1").command.SerializeToString()
CELLS = st.one_of(st.none(), INT64, TEXT, st.floats(), st.binary(max_size=8), st.just(GOOD_COMMAND))
REFUSALS = st.sampled_from(
    (
        '{"reason": "TOO_LARGE", "detail": "x", "field": "f", "limit": 1, "retry_after_s": null}',
        '{"reason": "NEW", "detail": "x"}',
        '{"reason": "OTHER", "detail": "x", "extra": 1}',
        "[]",
        "{",
        "[" * 3_000,
        '{"reason": [], "detail": {}}',
    )
)
ROWS = st.tuples(
    st.sampled_from(("m1", "m2")) | CELLS,
    st.just("lane") | CELLS,
    st.just(GOOD_COMMAND) | encodings(st.just(messaging.Command(ping=messaging.Ping()))) | CELLS,
    st.none() | CELLS,
    st.none() | REFUSALS | CELLS,
)
ABOUT = st.dictionaries(st.sampled_from(("cursor", "user_id", "x")), CELLS, max_size=3)


@subject(share=4, rows=st.lists(ROWS, max_size=3), about=ABOUT, bad_text=st.booleans())
@example([("m1", "lane", b"\xff", None, None)], {}, False)
@example([("m1", "lane", GOOD_COMMAND, None, "{")], {}, False)
@example([("m1", "lane", "text", None, None)], {}, False)
@example([], {"cursor": b"\xff"}, False)
@example([], {}, True)
def test_store_rows(rows: list[tuple[Any, ...]], about: dict[str, Any], bad_text: bool) -> None:
    """A store whose rows hold anything is what it held, or StoreFailed; never something a client stumbles over later."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(_TABLES)
        for name, value in about.items():
            connection.execute("insert or ignore into about values (?, ?)", (name, value))
        for row in rows:
            connection.execute(
                "insert or ignore into commands (id, lane, command, tried_at_us, refusal) values (?, ?, ?, ?, ?)",
                row,
            )
        if bad_text:
            connection.execute("insert or replace into about values ('cursor', cast(x'ff' as text))")
        store = FileStore("none")
        try:
            with store._failures():
                kept = _read(connection)
        except StoreFailed as failed:
            assert "none" in str(failed)
            return
        start(kept)


def start(kept: Kept) -> None:
    """A client starts on what was kept."""
    protocol = Protocol(SETTINGS, kept, random.Random(1))
    step = protocol.next_step(0.0)
    assert isinstance(step, Connect | Load)
    if isinstance(step, Connect):
        assert protocol.connect(0.0).SerializeToString()
    for each in protocol.outbox.uncertain():
        assert wire.timestamp(each.tried_at_us).IsInitialized()
    assert all(isinstance(each, KeptCommand) for each in kept.commands)
    while (event := protocol.hand_over(0.0)) is not None:
        look_at(event)


def _whole_file() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(_TABLES)
            connection.execute(
                "insert into commands (id, lane, command) values ('m1', 'lane', ?)", (GOOD_COMMAND,)
            )
            connection.execute("insert into about values ('cursor', 'c')")
            connection.execute("pragma user_version = 1")
            connection.commit()
        return path.read_bytes()


FILE = _whole_file()


@subject(
    share=1,
    short=40,
    edits=st.lists(
        st.tuples(st.integers(0, len(FILE)) | st.integers(0, 100), st.binary(max_size=4)), max_size=4
    ),
    length=st.integers(0, len(FILE)) | st.just(len(FILE)),
)
def test_store_files(edits: list[tuple[int, bytes]], length: int) -> None:
    """A store's file with anything in it opens and can be written, or is StoreFailed."""
    data = bytearray(FILE[:length])
    for at, new in edits:
        data[at : at + len(new)] = new
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        path.write_bytes(data)
        store = FileStore(path)
        try:
            start(store.load())
            store.commit(())
        except StoreFailed as failed:
            assert str(path) in str(failed)
        finally:
            store.close()
