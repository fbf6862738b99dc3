"""Records of the log, whatever is in them (R5): read by both groups, told to clients, stored and shown."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing

from hypothesis import example
from hypothesis import strategies as st

from cell.delivery.v1 import session_link_pb2 as link
from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from delivery_service.outbox import Outbox
from delivery_service.partition import OwnedPartition
from delivery_service.settings import DeliverySettings
from event_log.partitioner import partition_for
from event_log.port import Assignment, Fate, LogRecord
from event_log.reader import PartitionReader, Reading, Verdict
from history_service import embedded_reads, views
from history_service.embedded_file import _SCHEMA
from history_service.embedded_writes import ADD_CONVERSATION, write
from history_service.port import END, Batch, EventsAsked, Persisted
from history_service.rows import Rows, add_gap
from messaging_core.cursor import incarnation_bytes
from messaging_core.events import positioned
from session_link.routed import to_message
from tests.fuzz.strategies import (
    CONTENTS,
    CONVERSATION_ID,
    GOOD_REFS,
    ID,
    INCARNATION,
    INT64,
    NOW_S,
    REFS,
    TEXT,
    TIMES,
    UINT32,
    UINT64,
    USER_ID,
    USERS,
    a,
    encodings,
    ints,
    maybe,
)
from tests.fuzz.subjects import subject

PARTITION, PARTITIONS = 0, 4
NAMED = REFS | GOOD_REFS
MESSAGES = a(
    messaging.Message,
    ref=maybe(NAMED),
    content=maybe(CONTENTS),
    reply_to=maybe(NAMED),
    notify=UINT32.map(lambda n: n >> 1),
)
REACTIONS = a(
    messaging.ReactionChanged,
    message=maybe(NAMED),
    user_id=USER_ID,
    key=TEXT,
    removed=st.booleans(),
    changed_at=maybe(TIMES),
)
EVENTS = st.one_of(
    a(messaging.Event, message=MESSAGES),
    a(messaging.Event, reaction_changed=REACTIONS),
    a(messaging.Event, received_mark=a(messaging.ReceivedMark, user_id=USER_ID, through=maybe(NAMED))),
    a(messaging.Event, read_mark=a(messaging.ReadMark, user_id=USER_ID, through=maybe(NAMED))),
    a(messaging.Event, message=MESSAGES, cursor=TEXT, traceparent=TEXT),
)
_KINDS = {"message": 1, "reaction_changed": 2, "received_mark": 3, "read_mark": 4}


def _logged(
    event: messaging.Event, as_said: bool, kind: int, encoded: bytes, **fields: object
) -> log.LoggedEvent:
    if as_said:
        kind, encoded = _KINDS[event.WhichOneof("event") or "message"], event.SerializeToString()
    return log.LoggedEvent(kind=kind, event=encoded, **fields)  # type: ignore[arg-type]


LOGGED = st.builds(
    _logged,
    event=EVENTS,
    as_said=st.sampled_from((True, True, True, False)),
    kind=ints(-(2**31), 2**31 - 1) | st.integers(0, 5),
    encoded=encodings(EVENTS),
    sender_id=st.sampled_from(USERS) | USER_ID,
    conversation_id=CONVERSATION_ID,
    participant_count=st.integers(1, 3) | UINT32,
    event_time_us=st.integers(NOW_S * 1_000_000, NOW_S * 1_000_000 + 9) | INT64,
)
USER_LISTS = st.lists(st.sampled_from(USERS) | USER_ID, max_size=4)
ORIGINS = a(
    log.Origin,
    logged=maybe(LOGGED),
    command_id=ID,
    payload_digest=st.integers(0, 1) | UINT64,
    participant_ids=USER_LISTS,
)
COPIES = a(
    log.Copy,
    logged=maybe(LOGGED),
    source_partition=st.integers(0, 4) | UINT32,
    source_offset=st.integers(0, 5) | INT64,
    previous_offset=maybe(st.integers(-1, 5) | INT64),
    recipient_ids=USER_LISTS,
)
RECORDS = st.one_of(a(log.Record, origin=ORIGINS), a(log.Record, copy=COPIES))
STEPS = st.lists(
    st.tuples(
        encodings(RECORDS),
        st.integers(1, 3),
        ints(0, 2**62) | st.integers(NOW_S, NOW_S + 90).map(lambda s: s * 1_000_000),
    ),
    max_size=6,
)
"""Values, how far their offset is above the one before, and their append times."""


def written(steps: Sequence[tuple[bytes, int, int]]) -> list[LogRecord]:
    records, offset = [], -1
    for value, above, time_us in steps:
        offset += above
        records.append(LogRecord(offset, time_us, value))
    return records


def partition_of(user_id: str) -> int:
    return partition_for(user_id, PARTITIONS)


def reader_of(records: Sequence[LogRecord]) -> PartitionReader:
    end = records[-1].offset + 1 if records else 0
    return PartitionReader(PARTITION, INCARNATION, PARTITIONS, Assignment(PARTITION, 1, None, 0, end))


def judged(reading: Reading) -> tuple[int, Verdict, str, int]:
    return reading.offset, reading.verdict, reading.reason, reading.time_us


@subject(share=30, steps=STEPS, at=st.integers(0, 5))
def test_records(steps: list[tuple[bytes, int, int]], at: int) -> None:
    """Each record gets its verdict and nothing raises or stops; a reader that starts from any commit agrees (R5, I1)."""
    records = written(steps)
    reader = reader_of(records)
    commit = None
    verdicts = []
    for number, record in enumerate(records):
        if number == at:
            commit = reader.commit_at(reader.next_offset)
        reading = reader.read(record)
        verdicts.append(judged(reading))
        assert bool(reading.reason) is (reading.verdict is Verdict.UNREADABLE)
        if reading.verdict is Verdict.EFFECTIVE:
            assert reading.event is not None
            assert reading.recipients
            event = positioned(
                reading.logged,
                incarnation_bytes(INCARNATION),
                PARTITION,
                record.offset,
                reading.time_us,
                reading.event,
            )
            (update,) = messaging.ConnectResponse.FromString(event.piece).updates
            assert update.event.WhichOneof("event") == reading.event.WhichOneof("event")
            messaging.MessageRef.FromString(event.direct_ref)
    if commit is not None:
        again = PartitionReader(
            PARTITION, INCARNATION, PARTITIONS, Assignment(PARTITION, 2, commit, 0, records[-1].offset + 1)
        )
        later = [judged(again.read(record)) for record in records if record.offset >= again.tail_start]
        exact = {reading[0]: reading for reading in later if reading[0] >= again.exact_from}
        assert all(exact.get(reading[0], reading) == reading for reading in verdicts)
        assert len(exact) == sum(record.offset >= again.exact_from for record in records)


OWNED = Assignment(PARTITION, 1, None, 0, 0)
ATTACHES = st.builds(
    link.Attach,
    partition=st.just(PARTITION),
    user_id=st.sampled_from(USERS) | USER_ID,
    user_number=st.integers(0, 3) | UINT32,
    session_number=UINT64,
    attempt=UINT32,
    after_offset=st.integers(-1, 5) | INT64,
    credit_bytes=st.integers(0, 300) | UINT32,
)


@subject(
    share=12,
    short=50,
    steps=STEPS,
    attaches=st.lists(st.tuples(st.integers(0, 6), ATTACHES, st.booleans()), max_size=4),
)
def test_delivered(
    steps: list[tuple[bytes, int, int]], attaches: list[tuple[int, link.Attach, bool]]
) -> None:
    """An owner tells, forwards and commits whatever its log holds, and answers whatever it is asked (R5, R8)."""
    owned = OwnedPartition(
        OWNED,
        incarnation=INCARNATION,
        partition_count=PARTITIONS,
        partition_of=partition_of,
        settings=DeliverySettings(window_bytes=500),
    )
    outbox = Outbox("server")
    records = written(steps)
    for number in range(len(records) + 1):
        for _, attach, leaves in (each for each in attaches if each[0] == number):
            owned.attach(outbox, attach)
            if leaves:
                owned.detach(outbox, attach.user_number)
        for record in records[number : number + 1]:
            owned.take([record])
        for parcel in owned.forwarder.take(float(number)):
            assert log.Record.FromString(parcel.value).HasField("copy")
            parcel.tag.forwarder.settled(parcel.tag, Fate.APPENDED, float(number))
        owned.tell_through()
        if owned.rereads:
            start = owned.reread_from()
            owned.reread(start, [record for record in records[:number] if record.offset >= start])
        owned.commit()
    owned.judge(owned.past_known_end(), records[-1].offset + 1 if records else 0)
    for message in map(to_message, outbox.drain()):
        assert link.OwnerMessage.FromString(message.SerializeToString()) == message
        events = [message.routed.event] if message.HasField("routed") else message.attach_reply.events
        for event in events:
            assert len(messaging.ConnectResponse.FromString(event.piece).updates) == 1
            messaging.MessageRef.FromString(event.direct_ref)


def poison(seconds: int, nanos: int) -> bytes:
    """A message at a time that no Timestamp may stand for."""
    ref = messaging.MessageRef(conversation_id="c" * 22, sender_id="ann", message_id="m")
    ref.sent_at.seconds, ref.sent_at.nanos = seconds, nanos
    mark = messaging.Event(read_mark=messaging.ReadMark(user_id="ann", through=ref))
    logged = log.LoggedEvent(
        kind=log.EVENT_KIND_READ_MARK,
        sender_id="ann",
        conversation_id="c" * 22,
        event=mark.SerializeToString(),
    )
    return log.Record(origin=log.Origin(logged=logged, participant_ids=["ann"])).SerializeToString()


@subject(share=12, short=50, steps=STEPS, shared_above=st.integers(1, 3))
@example([(poison(253_402_300_799, 2_000_000_000), 1, 1)], 3)
@example([(poison(-62_135_596_800, -1_000_000_000), 1, 1)], 3)
def test_stored(steps: list[tuple[bytes, int, int]], shared_above: int) -> None:
    """History stores whatever its log holds, and shows what it has stored (R5)."""
    records = written(steps)
    reader, rows = reader_of(records), Rows(lambda _: PARTITION, shared_above)
    batch = Batch(INCARNATION)
    users, conversations = set(USERS), set()
    for record in records:
        reading = reader.read(record)
        if reading.verdict is Verdict.EFFECTIVE:
            rows.add(batch, PARTITION, reading)
            users.update(reading.recipients)
            conversations.add(reading.logged.conversation_id)
        elif reading.verdict is Verdict.UNREADABLE:
            add_gap(batch, PARTITION, reading.offset, reading.time_us)
        batch.positions[PARTITION] = Persisted(reading.offset, reading.time_us)
    with closing(sqlite3.connect(":memory:")) as store:
        store.executescript(_SCHEMA)
        store.executemany(ADD_CONVERSATION, [(name, "\n".join(USERS)) for name in conversations])
        write(store, batch)
        for user in users:
            show(store, user, conversations, records[-1].offset if records else 0)


def show(store: sqlite3.Connection, user: str, conversations: set[str], through: int) -> None:
    """Everything that the user may ask for can be told."""
    for overview in embedded_reads.overviews(store, user, None, 500, 1_000_000).items:
        assert views.conversation(overview, user).SerializeToString()
    for conversation in conversations:
        found = embedded_reads.overview(store, user, conversation)
        if found is not None:
            assert views.conversation(found, user).SerializeToString()
        for stored in embedded_reads.messages(store, conversation, END, False, 500, 1_000_000, user).items:
            views.history_message(stored).SerializeToString()
    asked = EventsAsked(INCARNATION, user, PARTITION, -1, through, 500, 1_000_000)
    for event in embedded_reads.events(store, asked).events:
        if event.logged:
            logged = log.LoggedEvent.FromString(event.logged)
            assert positioned(logged, bytes(8), PARTITION, event.offset, logged.event_time_us).piece
