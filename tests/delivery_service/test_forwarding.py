"""Forwarding: what one source partition's copies become in their targets (R1, R6, I2, I3, I14)."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from cell.log.v1 import record_pb2 as log
from delivery_service.forwarding import Forwarder, ForwardingSettings, Parcel
from event_log.port import Fate, NewRecord
from telemetry.tracing import MOST_SPANS
from tests.support.forwarding_model import Violation, simulate
from tests.support.log_records import origin
from tests.telemetry.recording import RecordingTracer

PARENT = f"00-{2:032x}-{2:016x}-01"
SETTINGS = ForwardingSettings(queue_bytes=4_000, in_flight_bytes=1_000, backoff_s=1.0, max_backoff_s=4.0)


def forward(forwarder: Forwarder, offset: int, *targets: int) -> None:
    made = origin("ann", [f"user{t}" for t in targets], f"m{offset}")
    forwarder.forward(offset, made.logged, {target: (f"user{target}",) for target in targets})


def chain(records: Sequence[NewRecord[Parcel]]) -> list[tuple[int, int, int | None]]:
    """(target, origin, the one before it) of each copy."""
    copies = [(record.partition, log.Record.FromString(record.value).copy) for record in records]
    return [
        (target, copy.source_offset, copy.previous_offset if copy.HasField("previous_offset") else None)
        for target, copy in copies
    ]


def settle(
    forwarder: Forwarder, records: Sequence[NewRecord[Parcel]], fate: Fate, now_s: float = 0.0
) -> None:
    for record in records:
        forwarder.settled(record.tag, fate, now_s)


def test_one_copy_for_each_target_with_its_recipients_and_chain() -> None:
    """Each target gets each origin once, with the origin before it; the first of an owner names none."""
    forwarder = Forwarder(9, SETTINGS)
    forward(forwarder, 5, 1, 2)
    forward(forwarder, 6, 2)
    forward(forwarder, 8, 1, 2)
    records = forwarder.take(0.0)
    assert chain(records) == [(1, 5, None), (1, 8, 5), (2, 5, None), (2, 6, 5), (2, 8, 6)]
    copy = log.Record.FromString(records[0].value).copy
    assert copy.source_partition == 9
    assert copy.logged == origin("ann", ["user1", "user2"], "m5").logged
    assert list(copy.recipient_ids) == ["user1"]


def test_commits_only_what_is_durable_everywhere() -> None:
    """The first origin with a copy that is not known to be durable holds the commit, whatever came after it (I3)."""
    forwarder = Forwarder(9, SETTINGS)
    forward(forwarder, 5, 1)
    forward(forwarder, 6, 2)
    assert forwarder.first_unforwarded(7) == 5
    one, two = forwarder.take(0.0)
    forwarder.settled(two.tag, Fate.APPENDED, 0.0)
    assert forwarder.first_unforwarded(7) == 5
    forwarder.settled(one.tag, Fate.APPENDED, 0.0)
    assert forwarder.first_unforwarded(7) == 7
    assert forwarder.queued_bytes == 0


@pytest.mark.parametrize("fate", [Fate.NOT_APPENDED, Fate.UNKNOWN])
def test_sends_again_from_the_failed_one_on(fate: Fate) -> None:
    """After what was in flight has settled, everything from the failed copy on goes again, in order, same chain."""
    forwarder = Forwarder(9, SETTINGS)
    for offset in (5, 6, 7):
        forward(forwarder, offset, 1)
    records = forwarder.take(0.0)
    settle(forwarder, records[:1], Fate.APPENDED)
    settle(forwarder, records[1:2], fate)
    assert forwarder.take(100.0) == [], "the last one is still in flight"
    settle(forwarder, records[2:], Fate.APPENDED)
    assert forwarder.first_unforwarded(8) == 6
    assert forwarder.take(0.5) == [], "backing off"
    assert chain(forwarder.take(1.0)) == [(1, 6, 5), (1, 7, 6)]


def test_backs_off_longer_until_something_gets_through() -> None:
    """Waits double up to the bound, and begin anew after a success."""
    forwarder, now = Forwarder(9, SETTINGS), 0.0
    forward(forwarder, 5, 1)
    for wait in (1.0, 2.0, 4.0, 4.0):
        settle(forwarder, forwarder.take(now), Fate.NOT_APPENDED, now)
        assert forwarder.take(now + wait - 0.1) == []
        now += wait
    settle(forwarder, forwarder.take(now), Fate.APPENDED, now)
    forward(forwarder, 6, 1)
    settle(forwarder, forwarder.take(now), Fate.NOT_APPENDED, now)
    assert forwarder.take(now + 0.9) == []
    assert forwarder.take(now + 1.0) != []


def test_a_stalled_target_holds_only_its_own_queue() -> None:
    """Others go on while one target does not answer; what it has in flight at the log is bounded (R6, I14)."""
    forwarder = Forwarder(9, SETTINGS)
    stalled = 0
    for offset in range(12):
        forward(forwarder, offset, 1, 2)
        records = forwarder.take(0.0)
        assert [record.partition for record in records if record.partition == 2] == [2]
        stalled += sum(len(record.value) for record in records if record.partition == 1)
        settle(forwarder, [record for record in records if record.partition == 2], Fate.APPENDED)
    assert stalled <= SETTINGS.in_flight_bytes + 300
    assert forwarder.first_unforwarded(12) == 0


def test_says_when_the_source_is_to_be_paused() -> None:
    """Past its bound the forwarder is full, and roomy again once half of it is durable."""
    forwarder = Forwarder(9, SETTINGS)
    offset = 0
    while not forwarder.full:
        forward(forwarder, offset, 1)
        offset += 1
    assert forwarder.queued_bytes < SETTINGS.queue_bytes + 300
    while not forwarder.roomy:
        settle(forwarder, forwarder.take(0.0), Fate.APPENDED)
    assert not forwarder.full


def test_a_traced_origin_is_traced_to_each_target() -> None:
    """Each copy carries the context of its own span, which ends once the copy is durable, however often it was tried."""
    tracer = RecordingTracer()
    forwarder = Forwarder(9, SETTINGS, tracer)
    made = origin("ann", ["user1", "user2"], "m5")
    forwarder.forward(5, made.logged, {1: ("user1",), 2: ("user2",)}, PARENT)
    one, two = forwarder.take(0.0)
    carried = [log.Record.FromString(record.value).copy.traceparent for record in (one, two)]
    assert carried == [span.traceparent for span in tracer.spans]
    assert {span.parent for span in tracer.spans} == {PARENT}
    forwarder.settled(one.tag, Fate.UNKNOWN, 0.0)
    forwarder.settled(two.tag, Fate.APPENDED, 0.0)
    assert tracer.ends("send log") == [[], [""]]
    (again,) = forwarder.take(10.0)
    forwarder.settled(again.tag, Fate.APPENDED, 10.0)
    assert tracer.ends("send log") == [[""], [""]]


def test_of_many_targets_some_are_traced() -> None:
    """The others carry the context of what sent them, so that what becomes of them belongs to the trace all the same."""
    tracer = RecordingTracer()
    forwarder = Forwarder(9, SETTINGS, tracer)
    made = origin("ann", [f"user{n}" for n in range(40)], "m5")
    forwarder.forward(5, made.logged, {n: (f"user{n}",) for n in range(40)}, PARENT)
    carried = [log.Record.FromString(record.value).copy.traceparent for record in forwarder.take(0.0)]
    assert len(tracer.spans) == MOST_SPANS
    assert carried.count(PARENT) == 40 - MOST_SPANS


class CommitsOnRead(Forwarder):
    """Broken: commits what it has read."""

    def first_unforwarded(self, position: int) -> int:
        return position


class Chainless(Forwarder):
    """Broken: copies do not say what came before them."""

    def forward(
        self,
        offset: int,
        logged: log.LoggedEvent,
        recipients: Mapping[int, tuple[str, ...]],
        traceparent: str = "",
    ) -> None:
        super().forward(offset, logged, recipients)
        for lane in self._lanes.values():
            lane.previous_field = b""


class GoesOnAfterFailure(Forwarder):
    """Broken: sends only the failed copy again, not what came after it."""

    def _start_over(self, lane: object, now_s: float) -> None:
        fates = [parcel.fate for parcel in lane.parcels]  # type: ignore[attr-defined]
        super()._start_over(lane, now_s)  # type: ignore[arg-type]
        kept = [p for p, fate in zip(lane.parcels, fates, strict=True) if fate is not Fate.APPENDED]  # type: ignore[attr-defined]
        lane.parcels.clear()  # type: ignore[attr-defined]
        lane.parcels.extend(kept)  # type: ignore[attr-defined]


@pytest.mark.parametrize("seeds", [range(i, i + 50) for i in range(0, 300, 50)], ids=str)
def test_targets_get_every_origin_once_in_order_whatever_fails(seeds: range) -> None:
    """I2, I3: crashes, zombies, failed batches with later ones landing, lost answers, late arrivals: no hole, no double."""
    for seed in seeds:
        simulate(seed, Forwarder)


@pytest.mark.parametrize("broken", [CommitsOnRead, Chainless, GoesOnAfterFailure])
def test_the_same_search_finds_what_is_broken(broken: Callable[[int, ForwardingSettings], Forwarder]) -> None:
    """Dropping any part of the rule makes a hole that the simulation sees."""
    with pytest.raises(Violation):
        for seed in range(300):
            simulate(seed, broken)
