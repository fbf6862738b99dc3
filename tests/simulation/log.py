"""The log of a simulated cell: appends land late, fail, land without an answer; its clock is a little off.

What R3 asks of a log is kept: an append lands within LANDS_WITHIN_US of the call or never, and the clock errs by at most
CLOCK_ERROR_US. With a command's hold that fits between the last blind retry and W.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from event_log.port import Assignment, Commit, Fate, LogFull, LogRecord, NewRecord, Settled

INCARNATION = "simulated"
LANDS_WITHIN_US = 7_000_000
CLOCK_ERROR_US = 4_000_000

OnSettled = Callable[[Sequence[Settled[Any]]], None]


@dataclass(slots=True, eq=False)
class Append:
    """A record on its way."""

    record: NewRecord[Any]
    on_settled: OnSettled
    by_us: int


class Answer(NamedTuple):
    """A fate that its producer has not heard of."""

    settled: Settled[Any]
    on_settled: OnSettled


class SimLog:
    """Partitions of records, and what is on its way to them."""

    def __init__(self, random: Random, partitions: int, on_landed: Callable[[int, LogRecord], None]) -> None:
        self.random = random
        self.partitions = range(partitions)
        self.on_landed = on_landed
        self.now_us = 1_700_000_000_000_000
        self.clock_error_us = 0
        self.records: list[list[LogRecord]] = [[] for _ in self.partitions]
        self.starts = [0] * partitions
        self.producers: list[Producer] = []
        self.late: list[Append] = []
        self.committed: dict[str, dict[int, Commit]] = {"delivery": {}, "history": {}}
        self.faulty = True
        self.failing = random.choice([0.02, 0.15, 0.4])
        """How often an append does not simply land, and that is told."""

    def end(self, partition: int) -> int:
        return len(self.records[partition])

    def read(self, partition: int, offset: int, count: int) -> list[LogRecord]:
        return self.records[partition][offset : offset + count]

    def assignment(self, group: str, partition: int, generation: int) -> Assignment:
        committed = self.committed[group].get(partition)
        return Assignment(partition, generation, committed, self.starts[partition], self.end(partition))

    def put(self, partition: int, value: bytes) -> int:
        offset = self.end(partition)
        record = LogRecord(offset, self.now_us + self.clock_error_us, value)
        self.records[partition].append(record)
        self.on_landed(partition, record)
        return offset

    def step_clock(self) -> None:
        self.clock_error_us = -self.random.randint(0, CLOCK_ERROR_US)

    def due_by(self, now_us: int) -> None:
        """What must have landed by this time does, or never will."""
        for producer in self.producers:
            for lane in producer.lanes.values():
                while lane and lane[0].by_us <= now_us:
                    producer.land(lane)
        overdue = [append for append in self.late if append.by_us <= now_us]
        for append in overdue:
            self.land_late(append)

    def land_late(self, append: Append) -> None:
        self.late.remove(append)
        if self.random.random() < 0.7:
            self.put(append.record.partition, append.record.value)


class Producer:
    """One process's way into the log; ends with it."""

    incarnation = INCARNATION

    def __init__(
        self, log: SimLog, partition_of: Callable[[str], int], on_append: Callable[[bytes], None]
    ) -> None:
        self.log = log
        self.partition_of = partition_of
        self.on_append = on_append
        self.partition_count = len(log.partitions)
        self.lanes: dict[int, deque[Append]] = {partition: deque() for partition in log.partitions}
        self.answers: dict[int, deque[Answer]] = {partition: deque() for partition in log.partitions}
        log.producers.append(self)

    def append(self, records: Sequence[NewRecord[Any]], on_settled: OnSettled) -> None:
        log = self.log
        if log.faulty and log.random.random() < 0.02:
            raise LogFull("full")
        for record in records:
            self.on_append(record.value)
            self.lanes[record.partition].append(Append(record, on_settled, log.now_us + LANDS_WITHIN_US))

    @property
    def busy(self) -> bool:
        return any(self.lanes.values()) or any(self.answers.values())

    def land(self, lane: deque[Append]) -> None:
        """What becomes of the next one; later ones go on whatever that is."""
        log, append = self.log, lane.popleft()
        record = append.record
        fate, offset = Fate.APPENDED, -1
        if not log.faulty or log.random.random() >= log.failing:
            offset = log.put(record.partition, record.value)
        else:
            what = log.random.choice(["not appended", "not appended", "lost", "answer lost", "late"])
            fate = Fate.NOT_APPENDED if what == "not appended" else Fate.UNKNOWN
            if what == "answer lost":
                log.put(record.partition, record.value)
            elif what == "late":
                log.late.append(append)
        self.answers[record.partition].append(Answer(Settled(record.tag, fate, offset), append.on_settled))

    def answer(self, partition: int, count: int) -> None:
        """Tell the oldest fates of a partition, as many at a time as are of one call's kind."""
        answers = self.answers[partition]
        for _ in range(min(count, len(answers))):
            settled, on_settled = answers.popleft()
            on_settled([settled])

    def kill(self) -> None:
        """The process is gone: what it had handed over may still land; nobody is told."""
        log = self.log
        log.producers.remove(self)
        for lane in self.lanes.values():
            log.late += list(lane)[: log.random.randint(0, len(lane))]
