"""What is under way to one partition, and what may be said of its fate (R4).

A partition has one batch at a time on its way, which is sent until it is answered or its time is over, always under the same
producer id, epoch and sequence, so that a broker takes it once however often it arrives. An answer says *appended*; or
*refused*, before anything was written; or it is *unclear*, as is a request without an answer: then the batch may be there,
or may land yet. Once unclear, only *appended*, said of a later attempt, makes it clear. A batch that was given up while
unclear ends its epoch: as soon as the partition has taken one of the next epoch, no broker takes the old one.
"""

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple

from event_log import kafka_records
from event_log.port import Fate, Settled

OnSettled = Callable[[Sequence[Settled[Any]]], None]

OVERHEAD_BYTES = 200
"""Of a record under way, beside its value."""
LAST_EPOCH = 32_767
_SEQUENCES = 1 << 31


class Answer(Enum):
    """What a broker's error code says of a batch."""

    APPENDED = "appended"
    REFUSED = "refused"
    """Not written; it may be later."""
    REFUSED_FOR_GOOD = "refused for good"
    """Not written, and never will be."""
    OUT_OF_SEQUENCE = "out of sequence"
    """Not written by this attempt, and not under this sequence: the broker knows the producer otherwise than we do."""
    UNCLEAR = "unclear"
    """It may be written: the broker that answers leads no more, or not enough others have it yet."""


_ANSWERS = {
    0: Answer.APPENDED,
    2: Answer.REFUSED,  # CORRUPT_MESSAGE
    19: Answer.REFUSED,  # NOT_ENOUGH_REPLICAS
    100: Answer.REFUSED,  # UNKNOWN_TOPIC_ID
    10: Answer.REFUSED_FOR_GOOD,  # MESSAGE_TOO_LARGE
    17: Answer.REFUSED_FOR_GOOD,  # INVALID_TOPIC_EXCEPTION
    18: Answer.REFUSED_FOR_GOOD,  # RECORD_LIST_TOO_LARGE
    29: Answer.REFUSED_FOR_GOOD,  # TOPIC_AUTHORIZATION_FAILED
    31: Answer.REFUSED_FOR_GOOD,  # CLUSTER_AUTHORIZATION_FAILED
    32: Answer.REFUSED_FOR_GOOD,  # INVALID_TIMESTAMP
    44: Answer.REFUSED_FOR_GOOD,  # POLICY_VIOLATION
    87: Answer.REFUSED_FOR_GOOD,  # INVALID_RECORD
    45: Answer.OUT_OF_SEQUENCE,  # OUT_OF_ORDER_SEQUENCE_NUMBER
    47: Answer.OUT_OF_SEQUENCE,  # INVALID_PRODUCER_EPOCH
    59: Answer.OUT_OF_SEQUENCE,  # UNKNOWN_PRODUCER_ID
    90: Answer.OUT_OF_SEQUENCE,  # PRODUCER_FENCED
}


def answer_of(error_code: int) -> Answer:
    """What it says. Codes that may come after the write are unclear: NOT_LEADER_OR_FOLLOWER and timeouts among them."""
    return _ANSWERS.get(error_code, Answer.UNCLEAR)


class Waiting(NamedTuple):
    """A record under way."""

    value: bytes
    tag: Any
    on_settled: OnSettled
    deadline_s: float
    """By `passing_s`, which goes on while the machine sleeps: what lands later than that may be a second message (R3)."""


class Batch:
    """Records that are sent together until their fate is known."""

    __slots__ = ("encoded", "epoch", "is_unclear", "on_its_way", "producer_id", "records", "sequence")

    def __init__(self, records: Sequence[Waiting]) -> None:
        self.records = records
        self.producer_id = self.epoch = self.sequence = -1
        self.encoded = b""
        self.on_its_way = False
        """An attempt has been written and not been answered."""
        self.is_unclear = False

    @property
    def deadline_s(self) -> float:
        """When its time is over."""
        return self.records[0].deadline_s


class Lane:
    """One partition's appends."""

    __slots__ = (
        "_epoch",
        "_producer_id",
        "_sequence",
        "batch",
        "failures",
        "not_before",
        "partition",
        "queue",
    )

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.queue: deque[Waiting] = deque()
        self.batch: Batch | None = None
        """The one being sent."""
        self.not_before = 0.0
        """When the next attempt may be made, by the event loop's clock."""
        self.failures = 0
        """Attempts in a row that were not answered with success."""
        self._producer_id = self._epoch = -1
        self._sequence = 0

    @property
    def is_idle(self) -> bool:
        """Nothing is waiting or on its way."""
        return not self.queue and self.batch is None

    @property
    def deadline_s(self) -> float:
        """When the time of the oldest append is over. Not while it is idle."""
        return self.queue[0].deadline_s if self.batch is None else self.batch.deadline_s

    def next_batch(self, max_bytes: int, producer_id: int, now_ms: int) -> Batch:
        """What is to be sent now: the batch that was, or one of what waits. Not while one is on its way, nor when idle."""
        if self.batch is None:
            self.batch = Batch(self._take(max_bytes))
        batch = self.batch
        if not batch.encoded:
            if self._producer_id < 0 or self._epoch > LAST_EPOCH:
                self._producer_id, self._epoch, self._sequence = producer_id, 0, 0
            batch.producer_id, batch.epoch, batch.sequence = self._producer_id, self._epoch, self._sequence
            values = [record.value for record in batch.records]
            batch.encoded = kafka_records.encode(
                values, batch.producer_id, batch.epoch, batch.sequence, now_ms
            )
        return batch

    def needs_other_producer(self, producer_id: int) -> bool:
        """All epochs of this producer id are used up in this partition."""
        return self._epoch > LAST_EPOCH and self._producer_id == producer_id

    def appended(self, batch: Batch, base_offset: int) -> list[tuple[Waiting, Fate, int]]:
        """The broker has it. The fates of its records."""
        self.batch = None
        self.failures = 0
        self._sequence = (self._sequence + len(batch.records)) % _SEQUENCES
        return [(record, Fate.APPENDED, offset) for offset, record in enumerate(batch.records, base_offset)]

    def failed(self, batch: Batch, answer: Answer) -> list[tuple[Waiting, Fate, int]]:
        """An attempt came to nothing. The fates of its records, if no other is to be made."""
        batch.on_its_way = False
        self.failures += 1
        if answer is Answer.UNCLEAR:
            batch.is_unclear = True
        elif answer is Answer.OUT_OF_SEQUENCE and not batch.is_unclear:
            self._end_epoch()
            batch.encoded = b""
        elif answer in (Answer.OUT_OF_SEQUENCE, Answer.REFUSED_FOR_GOOD):
            return self.give_up()
        return []

    def give_up(self) -> list[tuple[Waiting, Fate, int]]:
        """No more attempts are made with the batch; the fates of its records."""
        batch = self.batch
        assert batch is not None
        self.batch = None
        unclear = batch.is_unclear or batch.on_its_way
        if unclear:
            self._end_epoch()
        fate = Fate.UNKNOWN if unclear else Fate.NOT_APPENDED
        return [(record, fate, -1) for record in batch.records]

    def expire(self, now_s: float) -> list[tuple[Waiting, Fate, int]]:
        """The fates of records whose time is over."""
        fates = []
        if self.batch is not None and self.batch.deadline_s <= now_s:
            fates = self.give_up()
        while self.queue and self.queue[0].deadline_s <= now_s:
            fates.append((self.queue.popleft(), Fate.NOT_APPENDED, -1))
        return fates

    def _take(self, max_bytes: int) -> list[Waiting]:
        """The next records, one at least, that go together."""
        queue = self.queue
        taken = [queue.popleft()]
        size_bytes = len(taken[0].value)
        while queue and len(taken) < kafka_records.MAX_BATCH_RECORDS:
            size_bytes += len(queue[0].value) + kafka_records.RECORD_OVERHEAD_BYTES
            if size_bytes > max_bytes:
                break
            taken.append(queue.popleft())
        return taken

    def _end_epoch(self) -> None:
        self._epoch += 1
        self._sequence = 0
