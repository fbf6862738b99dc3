"""R1, R2, R3 and R5 case by case."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell.log.v1 import record_pb2 as log
from event_log import commit_metadata, reader
from event_log.commit_metadata import CommitUnreadable
from event_log.port import Assignment, Commit, LogRecord, Truncated
from event_log.reader import WINDOW_US, PartitionReader, Reading, Verdict
from event_log.tail import IncarnationChanged
from tests.event_log.world import PARTITIONS, START_US, TARGET, copy, logged, make_reader, origin


def readings(values: list[bytes], times_s: list[float] | None = None) -> list[Reading]:
    """What a fresh reader says of these records, appended a second apart unless told otherwise."""
    fresh = make_reader()
    times = times_s or list(range(len(values)))
    return [
        fresh.read(LogRecord(n, START_US + int(at * 1e6), value))
        for n, (at, value) in enumerate(zip(times, values, strict=True))
    ]


def verdicts(values: list[bytes], times_s: list[float] | None = None) -> list[str]:
    return [reading.verdict.value for reading in readings(values, times_s)]


def test_a_retry_is_a_duplicate_and_another_payload_a_conflict() -> None:
    """Within 60 s of any use of its id a record is dropped; later, by another sender or without an id it is not."""
    assert verdicts(
        [
            origin("ann", "x", 1),
            origin("ann", "x", 1),
            origin("ann", "x", 2),
            origin("bob", "x", 1),
            origin("ann", "y", 1),
            origin("ann", ""),
            origin("ann", ""),
        ]
    ) == ["effective", "duplicate", "conflict", "effective", "effective", "effective", "effective"]
    same = [origin("ann", "x", 1)] * 4
    assert verdicts(same, [0, 60, 120, 180.000001]) == ["effective", "duplicate", "duplicate", "effective"]


def test_time_runs_by_the_highest_append_time() -> None:
    """A clock that steps back makes no id older or younger."""
    values = [origin("ann", "x"), origin("bob", "y"), origin("ann", "x"), origin("bob", "y")]
    assert verdicts(values, [0, 61, 5, 30]) == ["effective", "effective", "effective", "duplicate"]


def test_copies_by_the_chain() -> None:
    """A copy is taken above the highest origin of its source, unless its predecessor is above that too."""
    assert verdicts(
        [
            copy(1, 3),
            copy(1, 3),
            copy(1, 2),
            copy(2, 3),
            copy(1, 9, 7),
            copy(1, 7, 3),
            copy(1, 9, 7),
            copy(1, 20),
        ]
    ) == ["effective", "stale", "stale", "effective", "hole", "effective", "effective", "effective"]


def test_a_record_of_a_later_version_keeps_the_chain() -> None:
    """A copy of an unknown kind is unreadable, but the next one that follows it is no hole; a retry of its like is stale."""
    later = logged(kind=99)
    assert verdicts(
        [copy(1, 3), copy(1, 5, 3, logged=later), copy(1, 5, 3, logged=later), copy(1, 8, 5)]
    ) == [
        "effective",
        "unreadable",
        "stale",
        "effective",
    ]
    assert (
        verdicts([origin("ann", "x", logged=later), origin("ann", "x", logged=logged("ann"))])[0]
        == "unreadable"
    )


def test_after_a_record_that_nobody_can_read_each_chain_goes_on() -> None:
    """It may have been any source's copy, so the next of each is taken without its predecessor, and only the next."""
    assert verdicts(
        [
            copy(1, 3),
            copy(2, 3),
            b"\xff",
            copy(1, 9, 7),
            copy(1, 20, 15),
            copy(2, 2),
            copy(2, 8, 5),
            copy(2, 12, 10),
        ]
    ) == ["effective", "effective", "unreadable", "effective", "hole", "stale", "effective", "hole"]


@pytest.mark.parametrize(
    ("value", "reason", "counted"),
    [
        (b"\xff", "not a record", False),
        (b"", "neither an origin nor a copy", False),
        (copy(TARGET, 1), "a copy from partition 0", False),
        (copy(PARTITIONS, 1), "a copy from partition 4", False),
        (copy(1, 5, 5), "a copy of origin 5 after 5", False),
        (copy(1, -1), "a copy of origin -1 after -1", False),
        (copy(1, 2**40), "a copy of origin 1099511627776 after -1", False),
        (origin(logged=logged(event=b"\xff")), "its event does not decode", True),
        (origin(logged=logged(event=b"")), "kind 1 with an event of unknown", True),
        (origin(logged=logged(kind=0)), "kind 0 with an event of message", True),
        (origin(logged=logged(kind=4)), "kind 4 with an event of message", True),
        (origin(logged=logged(sender="")), "it names no sender or no recipients", True),
        (
            log.Record(origin=log.Origin(logged=logged())).SerializeToString(),
            "it names no sender or no recipients",
            True,
        ),
    ],
)
def test_unreadable_records_say_why(value: bytes, reason: str, counted: bool) -> None:
    """What makes no event is unreadable, with the reason; it tells whether it counted, and carries nothing to act on."""
    (reading,) = readings([value])
    assert (reading.verdict, reading.reason) == (Verdict.UNREADABLE, reason)
    assert reading.counted is counted
    assert not any(hasattr(reading, part) for part in ("logged", "recipients", "event"))


@pytest.mark.parametrize("value", [origin("ann", "x"), copy(1, 9, 7), copy(1, 9)])
def test_a_record_that_counted_can_be_read_later(value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a version that knows its kind, out of its place: effective, with the time it had there; else unreadable still."""
    record = LogRecord(17, START_US, value)
    with monkeypatch.context() as old:
        old.setattr(reader, "_EVENT_FIELDS", {})
        assert reader.read_counted(TARGET, PARTITIONS, record, 99).verdict is Verdict.UNREADABLE
    reading = reader.read_counted(TARGET, PARTITIONS, record, 10**16)
    assert reading.verdict is Verdict.EFFECTIVE
    assert (reading.offset, reading.append_time_us, reading.time_us) == (17, START_US, 10**16)
    assert reading.recipients


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([origin("ann", "x"), copy(1, 3)])), max_size=8)
)
def test_no_bytes_stop_a_reader(values: list[bytes]) -> None:
    """Whatever bytes a log holds, each record gets a verdict."""
    assert len(verdicts(values)) == len(values)


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=4), st.integers(0, 200), st.booleans())
def test_damaged_records_get_a_verdict(noise: bytes, at: int, is_copy: bool) -> None:
    """A record with some bytes overwritten is effective or unreadable, and never stops the reader."""
    value = bytearray(copy(1, 7) if is_copy else origin("ann", "x", 1))
    at %= len(value)
    value[at : at + len(noise)] = noise
    (verdict,) = verdicts([bytes(value)])
    assert verdict in ("effective", "unreadable")


def test_readings_carry_what_to_act_on() -> None:
    """An effective reading has its record's parts decoded once: logged, recipients, event."""
    first, second = readings([origin("ann", "x", 1), copy(1, 3)])
    assert first.origin is not None
    assert list(first.recipients) == ["ann", "bob"]
    assert first.logged.sender_id == "ann"
    assert first.event is not None
    assert first.event.message.content.text == "hello"
    assert second.copy is not None
    assert list(second.recipients) == ["ann"]
    assert second.logged.sender_id == "zoe"
    assert (second.offset, second.append_time_us) == (1, START_US + 1_000_000)


def test_refuses_to_start_where_it_could_not_be_right() -> None:
    """Another log, another number of partitions, a tail or an end that is gone, or an unknown commit: each by its error."""
    fresh = make_reader()
    for n in range(5):
        fresh.read(LogRecord(n, START_US, origin()))
    commit = fresh.commit_at(5)
    with pytest.raises(IncarnationChanged, match="log-1, this is log-2"):
        PartitionReader(TARGET, "log-2", PARTITIONS, Assignment(TARGET, 1, commit, 0, 5))
    with pytest.raises(IncarnationChanged, match="4 partitions, this one has 8"):
        PartitionReader(TARGET, "log-1", 8, Assignment(TARGET, 1, commit, 0, 5))
    with pytest.raises(Truncated, match="records from 5 are needed, the log starts at 6"):
        make_reader(commit, start=6)
    with pytest.raises(Truncated, match="records from 0 are needed, the log starts at 1"):
        make_reader(start=1)
    with pytest.raises(Truncated, match="committed through 5, the log ends at 4"):
        make_reader(commit, end=4)
    with pytest.raises(CommitUnreadable):
        make_reader(Commit(5, ""))


DAY_US = 86_400_000_000


def test_a_quiet_partition_lasts_when_retention_took_all() -> None:
    """From the commit of all that was read a new owner goes on exactly, though the log has dropped every record of it."""
    former = make_reader()
    for n, value in enumerate([copy(1, 3), copy(2, 8, 6), copy(2, 6), copy(1, 9, 3), origin("ann", "x")]):
        former.read(LogRecord(n, START_US, value))
    commit = former.commit_at(5, keep_from=1)
    assert commit_metadata.tail_start_of(commit) < 5
    owner = make_reader(commit, end=5, start=5)
    assert (owner.tail_start, owner.exact_from, owner.acts_from) == (5, 5, 5)
    again = owner.commit_at(5)
    for each in (owner, make_reader(again, start=5)):
        later = [copy(1, 9, 3), copy(2, 10, 8), copy(2, 8, 6), copy(1, 11, 9), origin("ann", "x")]
        assert [
            each.read(LogRecord(5 + n, START_US + DAY_US, value)).verdict.value
            for n, value in enumerate(later)
        ] == ["stale", "hole", "effective", "effective", "effective"]


def test_after_a_silence_nothing_of_before_is_needed() -> None:
    """The tail of a commit starts at the record that came more than W after all others, but keeps what came with it."""
    former = make_reader()
    for n, at_us in enumerate([0, 3 * DAY_US, 3 * DAY_US]):
        former.read(LogRecord(n, START_US + at_us, origin("ann", f"id-{n}")))
    commit = former.commit_at(3, keep_from=1)
    assert commit_metadata.tail_start_of(commit) == 1
    owner = make_reader(commit, start=1)
    owner.read(LogRecord(1, START_US + 3 * DAY_US, origin("ann", "id-1")))
    owner.read(LogRecord(2, START_US + 3 * DAY_US, origin("ann", "id-2")))
    again = LogRecord(3, START_US + 3 * DAY_US + WINDOW_US, origin("ann", "id-1"))
    assert owner.read(again).verdict is Verdict.DUPLICATE


@pytest.mark.parametrize("text", ["1.log-1.00aO41ONa400", None])
def test_a_tail_that_is_gone_in_part_opens_the_chains(text: str | None) -> None:
    """Where the state is known only for the tail start, each source's next copy is taken: no hole lasts for good."""
    former = make_reader()
    for n in range(6):
        former.read(LogRecord(n, START_US, copy(1, 3) if n == 0 else origin("ann", f"id-{n}")))
    commit = Commit(4, text) if text else former.commit_at(4)
    owner = make_reader(commit, start=2)
    assert (owner.tail_start, owner.exact_from, owner.acts_from) == (2, 4, 4)
    for n in (2, 3):
        owner.read(LogRecord(n, START_US, origin("ann", f"id-{n}")))
    later = [copy(1, 20, 15), copy(1, 30, 25), copy(2, 9, 7), origin("ann", "id-3")]
    assert [owner.read(LogRecord(4 + n, START_US, value)).verdict.value for n, value in enumerate(later)] == [
        "effective",
        "hole",
        "effective",
        "duplicate",
    ]


def test_refuses_records_out_of_order_and_commits_out_of_reach() -> None:
    """A record at or below the last one, or a commit of what was not read, is the caller's mistake; holes are not."""
    fresh = make_reader()
    fresh.read(LogRecord(3, START_US, origin()))
    with pytest.raises(ValueError, match="record 3 where 4"):
        fresh.read(LogRecord(3, START_US, origin()))
    with pytest.raises(ValueError, match="offset 5 is not within 0 to 4"):
        fresh.commit_at(5)
    assert fresh.commit_at(4).offset == 4


def test_state_stays_bounded() -> None:
    """However long it reads without a commit, a reader keeps a bounded number of snapshots and the ids of two windows."""
    fresh = make_reader()
    for n in range(3_000):
        fresh.read(LogRecord(n, START_US + n * 1_000_000, origin("ann", f"id-{n}")))
    assert len(fresh._snapshots) <= reader.MAX_SNAPSHOTS
    assert len(fresh._ids._new) + len(fresh._ids._old) <= 2 * 61
    tail = commit_metadata.decode(fresh.commit_at(3_000).metadata)
    assert 3_000 - 61 - 3_000 / reader.MAX_SNAPSHOTS * 4 < tail.tail_start <= 3_000 - 61
