"""What is told of an append's fate, by what brokers answered: never "not done" of what may land."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.memory_records import MemoryRecords

from event_log.kafka_batches import LAST_EPOCH, Answer, Batch, Lane, Waiting, answer_of
from event_log.port import Fate

MAX_BYTES = 1_000
PRODUCER_ID = 5


def a_lane(*values: bytes, deadline: float = 10.0) -> Lane:
    lane = Lane(0)
    lane.queue.extend(Waiting(value, value, _ignore, deadline) for value in values)
    return lane


def _ignore(_: Sequence[object]) -> None:
    pass


def attempt(lane: Lane) -> Batch:
    batch = lane.next_batch(MAX_BYTES, PRODUCER_ID, 0)
    batch.on_its_way = True
    return batch


def place(batch: Batch) -> tuple[int, int, int]:
    return batch.producer_id, batch.epoch, batch.sequence


def fates(told: Sequence[tuple[Waiting, Fate, int]]) -> list[tuple[bytes, Fate, int]]:
    return [(record.value, fate, offset) for record, fate, offset in told]


def test_an_attempt_is_made_again_under_the_same_sequence() -> None:
    """Until it is answered with success, a batch is the same bytes, so that a broker that has it knows it."""
    lane = a_lane(b"a", b"b")
    first = attempt(lane)
    encoded = first.encoded
    for answer in (Answer.REFUSED, Answer.UNCLEAR, Answer.REFUSED):
        assert lane.failed(first, answer) == []
        assert attempt(lane) is first
        assert first.encoded == encoded
    assert fates(lane.appended(first, 40)) == [(b"a", Fate.APPENDED, 40), (b"b", Fate.APPENDED, 41)]
    assert lane.is_idle


def test_the_next_batch_follows_in_sequence() -> None:
    """The sequence goes on by the records that were appended."""
    lane = a_lane(b"x" * 900, b"y" * 900)
    first = attempt(lane)
    assert place(first) == (PRODUCER_ID, 0, 0)
    lane.appended(first, 0)
    assert place(attempt(lane)) == (PRODUCER_ID, 0, 1)


def test_what_was_only_refused_is_not_appended() -> None:
    """No attempt was written, so it certainly is not there; and its sequence is free for the next."""
    lane = a_lane(b"a", deadline=1.0)
    lane.queue.append(Waiting(b"later", b"later", _ignore, 9.0))
    lane.failed(batch := attempt(lane), Answer.REFUSED)
    batch.on_its_way = False
    assert [fate for _, fate, _ in lane.expire(1.0)] == [Fate.NOT_APPENDED] * 2  # they went together
    assert lane.is_idle
    lane.queue.append(Waiting(b"b", b"b", _ignore, 9.0))
    assert place(attempt(lane)) == (PRODUCER_ID, 0, 0)


def test_what_may_be_there_is_unknown() -> None:
    """One unclear attempt, or one without an answer yet, makes it so, whatever refusals follow; its epoch ends with it."""
    for answers in ([Answer.UNCLEAR], [Answer.UNCLEAR, Answer.REFUSED], [Answer.REFUSED, Answer.UNCLEAR], []):
        lane = a_lane(b"a")
        attempt(lane)
        for answer in answers:
            assert lane.batch is not None
            lane.failed(lane.batch, answer)
        assert fates(lane.expire(10.0)) == [(b"a", Fate.UNKNOWN, -1)]
        lane.queue.append(Waiting(b"b", b"b", _ignore, 19.0))
        assert place(attempt(lane)) == (PRODUCER_ID, 1, 0)


def test_a_broker_that_knows_us_otherwise_gets_another_epoch() -> None:
    """Out of sequence, nothing was written, and nothing unclear before: the same records go out in the next epoch."""
    lane = a_lane(b"a")
    batch = attempt(lane)
    assert lane.failed(batch, Answer.OUT_OF_SEQUENCE) == []
    assert attempt(lane) is batch
    assert place(batch) == (PRODUCER_ID, 1, 0)
    lane.failed(batch, Answer.UNCLEAR)
    attempt(lane)
    assert fates(lane.failed(batch, Answer.OUT_OF_SEQUENCE)) == [(b"a", Fate.UNKNOWN, -1)]


def test_what_is_never_taken_is_told_at_once() -> None:
    """Refused for good: not appended, or unknown if an attempt before was unclear."""
    lane = a_lane(b"a")
    assert fates(lane.failed(attempt(lane), Answer.REFUSED_FOR_GOOD)) == [(b"a", Fate.NOT_APPENDED, -1)]
    lane = a_lane(b"a")
    lane.failed(attempt(lane), Answer.UNCLEAR)
    assert fates(lane.failed(attempt(lane), Answer.REFUSED_FOR_GOOD)) == [(b"a", Fate.UNKNOWN, -1)]


def test_time_ends_for_each_record() -> None:
    """Records whose time is not over stay; those that were never sent are not appended."""
    lane = a_lane(b"x" * 900, deadline=1.0)
    lane.queue.extend([Waiting(b"y" * 900, b"y", _ignore, 1.0), Waiting(b"z", b"z", _ignore, 5.0)])
    attempt(lane)
    told = lane.expire(1.0)
    assert [fate for _, fate, _ in told] == [Fate.UNKNOWN, Fate.NOT_APPENDED]
    assert [record.tag for record in lane.queue] == [b"z"]


def test_epochs_that_are_used_up_take_another_producer() -> None:
    """The last epoch of a producer id is followed by the first of another."""
    lane = Lane(0)
    for _ in range(LAST_EPOCH + 1):
        assert not lane.needs_other_producer(PRODUCER_ID)
        lane.queue.append(Waiting(b"a", b"a", _ignore, 0.0))
        attempt(lane)
        lane.expire(0.0)
    assert lane.needs_other_producer(PRODUCER_ID)
    assert not lane.needs_other_producer(PRODUCER_ID + 1)
    lane.queue.append(Waiting(b"a", b"a", _ignore, 0.0))
    assert place(lane.next_batch(MAX_BYTES, PRODUCER_ID + 1, 0)) == (PRODUCER_ID + 1, 0, 0)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=60))
def test_batches_keep_order_and_bounds(sizes: list[int]) -> None:
    """All records go out in order, each once, in batches within the bound or of one record."""
    lane = a_lane(*[bytes(size) for size in sizes])
    sent: list[bytes] = []
    while lane.queue:
        batch = attempt(lane)
        values = [record.value for record in batch.records]
        assert sum(map(len, values)) <= MAX_BYTES or len(values) == 1
        (parsed,) = MemoryRecords(batch.encoded)
        assert [bytes(record.value) for record in parsed] == values
        sent += values
        lane.appended(batch, 0)
    assert sent == [bytes(size) for size in sizes]


@pytest.mark.parametrize("code", [6, 7, 20, 46, 56, 3, -1, 12_345])
def test_what_is_not_known_to_come_before_the_write_is_unclear(code: int) -> None:
    """NOT_LEADER, timeouts, storage errors and codes of versions to come are answers that a written batch may get."""
    assert answer_of(code) is Answer.UNCLEAR
