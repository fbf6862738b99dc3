"""I1, I2, I4 and I5 over random logs, and that breaking a rule is noticed."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell.log.v1 import record_pb2 as log
from event_log import commit_metadata, reader
from event_log.commit_metadata import TailState
from event_log.port import Commit, LogRecord
from event_log.reader import WINDOW_US, PartitionReader, Reading, Verdict
from event_log.recent_ids import RecentIds
from tests.event_log.world import PARTITIONS, World, make_reader

SEEDS = st.integers(0, 2**32)
DAY_US = 86_400_000_000


def running_times(records: list[LogRecord]) -> list[int]:
    """For each offset the highest append time before it."""
    times = [0]
    for record in records:
        times.append(max(times[-1], record.append_time_us))
    return times


def check_restarts(seed: int, poison: bool) -> None:
    """A reader that never stopped, and owners that take over at random commits of each other, agree (I1, I4, I12)."""
    records = World(seed, poison).run().records
    lasting = make_reader()
    readings = [lasting.read(record) for record in records]
    truth = [reading.verdict for reading in readings]
    times = running_times(records)
    choose = random.Random(seed)
    committed: Commit | None = None
    keep_from = 0
    for _ in range(4):
        owner = make_reader(committed, len(records))
        for record in records[owner.tail_start : choose.randint(owner.acts_from, len(records))]:
            reading = owner.read(record)
            said = reading.verdict
            assert reading.time_us == readings[record.offset].time_us
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
            through = times[min(keep_from + 1, len(records))]
            assert all(times[o + 1] < through - WINDOW_US for o in range(tail.tail_start))


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.booleans())
def test_restarts_at_any_commit_change_no_verdict(seed: int, poison: bool) -> None:
    """I1, I4: whatever a chain of owners commits and replays, each says of each record what one that never stopped says."""
    check_restarts(seed, poison)


def check_silence(seed: int, poison: bool) -> None:
    """After a silence in which the log dropped everything, owners agree with a reader that never stopped (I1, I4, I12)."""
    records = World(seed, poison).run().records
    choose = random.Random(seed)
    silence = choose.randint(1, len(records))
    records[silence:] = [r._replace(append_time_us=r.append_time_us + DAY_US) for r in records[silence:]]
    lasting = make_reader()
    readings = [lasting.read(record) for record in records]
    former = make_reader()
    for record in records[: choose.randint(0, silence)]:
        former.read(record)
    former = make_reader(former.commit_at(former.next_offset), silence)
    for record in records[former.tail_start : silence]:
        former.read(record)
    committed = former.commit_at(silence, keep_from=choose.randint(0, silence))
    for _ in range(3):
        owner = make_reader(committed, len(records), start=silence)
        for record in records[owner.tail_start : choose.randint(owner.acts_from, len(records))]:
            reading = owner.read(record)
            if record.offset >= owner.exact_from:
                assert reading.verdict is readings[record.offset].verdict
            assert reading.time_us == readings[record.offset].time_us
        if owner.next_offset >= owner.acts_from:
            committed = owner.commit_at(owner.next_offset)
            assert commit_metadata.tail_start_of(committed) >= silence


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.booleans())
def test_a_silence_that_retention_outlasts_changes_no_verdict(seed: int, poison: bool) -> None:
    """I1, I4: a log without all that came before a silence is read as one that still has it, and is never truncated."""
    check_silence(seed, poison)


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
    "newest event time lost": forget(newest_us=0),
    "vector at the commit lost": forget(at_commit=None),
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
        lambda seed: check_silence(seed, poison=False),
        lambda seed: test_origins_are_dropped_by_the_rule_alone.hypothesis.inner_test(seed, False),  # type: ignore[attr-defined]
    ]
    for seed in range(500):
        for check in properties:
            try:
                check(seed)
            except (AssertionError, ValueError):
                return
    pytest.fail(f"not noticed: {broken}")
