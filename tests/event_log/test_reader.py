"""R1, R2, R3 and R5 over random logs: I1, I2, I4, I5, and that breaking a rule is noticed."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell.log.v1 import record_pb2 as log
from event_log import commit_metadata, reader
from event_log.commit_metadata import CommitUnreadable, TailState
from event_log.port import Assignment, Commit, LogRecord, Truncated
from event_log.reader import WINDOW_US, IncarnationChanged, PartitionReader, Reading, Verdict
from event_log.recent_ids import RecentIds
from tests.event_log.world import PARTITIONS, START_US, TARGET, World, copy, logged, origin

SEEDS = st.integers(0, 2**32)
Said = tuple[Verdict, int | None]


def make_reader(committed: Commit | None = None, end: int = 1 << 30, start: int = 0) -> PartitionReader:
    return PartitionReader(TARGET, "log-1", PARTITIONS, Assignment(TARGET, 1, committed, start, end))


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


def running_times(records: list[LogRecord]) -> list[int]:
    """For each offset the highest append time before it."""
    times = [0]
    for record in records:
        times.append(max(times[-1], record.append_time_us))
    return times


def check_restarts(seed: int, poison: bool) -> None:
    """A reader that never stopped, and owners that take over at random commits of each other, agree (I1, I4)."""
    records = World(seed, poison).run().records
    lasting = make_reader()
    truth = [lasting.read(record).verdict for record in records]
    times = running_times(records)
    choose = random.Random(seed)
    committed: Commit | None = None
    keep_from = 0
    for _ in range(4):
        owner = make_reader(committed, len(records))
        for record in records[owner.tail_start : choose.randint(owner.acts_from, len(records))]:
            said = owner.read(record).verdict
            if record.offset >= owner.exact_from:
                assert said is truth[record.offset]
            assert (said is Verdict.EFFECTIVE) == (truth[record.offset] is Verdict.EFFECTIVE) or (
                record.offset < owner.exact_from and said is Verdict.EFFECTIVE
            )
        assert owner.exact_from <= owner.acts_from
        for _ in range(choose.randint(1, 3)):
            if owner.next_offset < owner.acts_from:
                break
            offset = choose.randint(
                max(owner.acts_from, committed.offset if committed else 0), owner.next_offset
            )
            keep_from = choose.randint(min(keep_from, offset), offset)
            committed = owner.commit_at(offset, keep_from)
            tail = commit_metadata.decode(committed.metadata)
            assert tail.tail_start <= keep_from <= offset
            assert all(times[o + 1] < times[keep_from] - WINDOW_US for o in range(tail.tail_start))


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.booleans())
def test_restarts_at_any_commit_change_no_verdict(seed: int, poison: bool) -> None:
    """I1, I4: whatever a chain of owners commits and replays, each says of each record what one that never stopped says."""
    check_restarts(seed, poison)


@settings(max_examples=300, deadline=None)
@given(SEEDS)
def test_copies_are_taken_in_order_without_holes(seed: int) -> None:
    """I2, I3: through crashes, zombies and failed batches, the effective copies are the origins that name the target."""
    world = World(seed).run()
    taken: dict[int, list[int]] = {partition: [] for partition in world.sources}

    def read(fresh: PartitionReader) -> None:
        for record in world.records[fresh.next_offset :]:
            reading = fresh.read(record)
            if reading.copy and reading.verdict is Verdict.EFFECTIVE:
                taken[reading.copy.source_partition].append(reading.copy.source_offset)

    target = make_reader()
    read(target)
    for partition, source in world.sources.items():
        assert taken[partition] == source.named[: len(taken[partition])]
        durable = [offset for offset in source.named if offset < source.committed]
        assert taken[partition][: len(durable)] == durable
    world.settle()
    read(target)
    for partition, source in world.sources.items():
        assert taken[partition] == source.named


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.booleans())
def test_origins_are_dropped_by_the_rule_alone(seed: int, poison: bool) -> None:
    """I5: dropped iff any earlier record has the id within W by the running time; a conflict by the oldest of those."""
    world = World(seed, poison).run()
    fresh = make_reader()
    now_us = 0
    uses: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for record in world.records:
        now_us = max(now_us, record.append_time_us)
        reading = fresh.read(record)
        try:
            parsed = log.Record.FromString(record.value).origin
        except Exception:
            continue
        if not parsed.command_id:
            continue
        before = uses.setdefault((parsed.logged.sender_id, parsed.command_id), [])
        in_force = [digest for time_us, digest in before if now_us - time_us <= WINDOW_US]
        before.append((now_us, parsed.payload_digest))
        if in_force:
            same = in_force[0] == parsed.payload_digest
            assert reading.verdict is (Verdict.DUPLICATE if same else Verdict.CONFLICT)
        else:
            assert reading.verdict in (Verdict.EFFECTIVE, Verdict.UNREADABLE)


class EffectiveOnly(RecentIds):
    """Broken: a dropped use does not count."""

    def use(self, key: str, digest: int, now_us: int) -> int | None:
        known = self._new.get(key) or self._old.get(key)
        before = known if isinstance(known, tuple) else None
        first = super().use(key, digest, now_us)
        if first is not None and before is not None:
            self._new[key] = before
        return first


def forget(**fields: object) -> Callable[[pytest.MonkeyPatch], None]:
    """Broken: the commit does not carry these."""
    decode = commit_metadata.decode

    def broken(metadata: str) -> TailState:
        return decode(metadata)._replace(**fields)  # type: ignore[arg-type]

    return lambda patch: patch.setattr(commit_metadata, "decode", broken)


def time_of_the_record(patch: pytest.MonkeyPatch) -> None:
    """Broken: the time of a record is its own, not the running maximum."""
    read = PartitionReader.read

    def broken(self: PartitionReader, record: LogRecord) -> Reading:
        self._running_time_us = 0
        return read(self, record)

    patch.setattr(PartitionReader, "read", broken)


BROKEN: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "ids: dropped uses do not count": lambda patch: patch.setattr(reader, "RecentIds", EffectiveOnly),
    "vector lost": forget(chains=[0] * PARTITIONS),
    "running maximum forgotten": time_of_the_record,
    "tail too short": lambda patch: patch.setattr(reader, "WINDOW_US", WINDOW_US // 2),
    "tail at the commit": lambda patch: patch.setattr(
        PartitionReader, "_tail_for", lambda self, _: self._snapshots[-1]
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_rule_is_noticed(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the ways to get a rule wrong fails a property above within some hundred logs."""
    BROKEN[broken](monkeypatch)
    properties: list[Callable[[int], None]] = [
        lambda seed: check_restarts(seed, poison=False),
        lambda seed: test_origins_are_dropped_by_the_rule_alone.hypothesis.inner_test(seed, False),  # type: ignore[attr-defined]
    ]
    for seed in range(500):
        for check in properties:
            try:
                check(seed)
            except (AssertionError, ValueError):
                return
    pytest.fail(f"not noticed: {broken}")


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
    ("value", "reason"),
    [
        (b"\xff", "not a record"),
        (b"", "neither an origin nor a copy"),
        (copy(TARGET, 1), "a copy from partition 0"),
        (copy(PARTITIONS, 1), "a copy from partition 4"),
        (copy(1, 5, 5), "a copy of origin 5 after 5"),
        (copy(1, -1), "a copy of origin -1 after -1"),
        (copy(1, 2**40), "a copy of origin 1099511627776 after -1"),
        (origin(logged=logged(event=b"\xff")), "its event does not decode"),
        (origin(logged=logged(event=b"")), "kind 1 with an event of unknown"),
        (origin(logged=logged(kind=0)), "kind 0 with an event of message"),
        (origin(logged=logged(kind=4)), "kind 4 with an event of message"),
        (origin(logged=logged(sender="")), "it names no sender or no recipients"),
        (
            log.Record(origin=log.Origin(logged=logged())).SerializeToString(),
            "it names no sender or no recipients",
        ),
    ],
)
def test_unreadable_records_say_why(value: bytes, reason: str) -> None:
    """What makes no event is unreadable, with the reason; it carries nothing to act on."""
    (reading,) = readings([value])
    assert (reading.verdict, reading.reason) == (Verdict.UNREADABLE, reason)
    assert (reading.origin, reading.copy, reading.event) == (None, None, None)
    with pytest.raises(ValueError, match="record 0 is unreadable"):
        _ = reading.logged


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
    with pytest.raises(Truncated, match="records from 0 are needed, the log starts at 1"):
        make_reader(commit, start=1)
    with pytest.raises(Truncated, match="the log starts at 1"):
        make_reader(start=1)
    with pytest.raises(Truncated, match="committed through 5, the log ends at 4"):
        make_reader(commit, end=4)
    with pytest.raises(CommitUnreadable):
        make_reader(Commit(5, ""))


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
