"""A small world that writes a partition's log the way a cell does when everything goes wrong: by a seed, at random.

Partition TARGET is what the reader under test reads. Its users' servers append origins, retried and mistaken; every other
partition has forwarders that append copies by R1 through a producer that fails batches and goes on with the next, loses
answers, crashes, and lives on as a zombie after another took over. The log's clock is no good either.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.port import Assignment, Commit, LogRecord
from event_log.reader import PartitionReader

TARGET = 0
PARTITIONS = 4
EVENT = messaging.Event(
    message=messaging.Message(content=messaging.Content(text="hello"))
).SerializeToString()
START_US = 1_700_000_000_000_000
TICK_US = 500_000
"""Coarse, so that records are exactly W apart now and then."""


def make_reader(committed: Commit | None = None, end: int = 1 << 30, start: int = 0) -> PartitionReader:
    return PartitionReader(TARGET, "log-1", PARTITIONS, Assignment(TARGET, 1, committed, start, end))


def logged(
    sender: str = "ann", kind: int = log.EVENT_KIND_MESSAGE, event: bytes = EVENT, time_us: int = 0
) -> log.LoggedEvent:
    return log.LoggedEvent(kind=kind, sender_id=sender, event=event, event_time_us=time_us)  # type: ignore[arg-type]


def origin(sender: str = "ann", command_id: str = "", digest: int = 0, **fields: object) -> bytes:
    return log.Record(
        origin=log.Origin(
            logged=fields.get("logged") or logged(sender),  # type: ignore[arg-type]
            command_id=command_id,
            payload_digest=digest,
            participant_ids=["ann", "bob"],
        )
    ).SerializeToString()


def copy(source: int, offset: int, previous: int | None = None, **fields: object) -> bytes:
    return log.Record(
        copy=log.Copy(
            logged=fields.get("logged") or logged("zoe"),  # type: ignore[arg-type]
            source_partition=source,
            source_offset=offset,
            previous_offset=previous,
            recipient_ids=["ann"],
        )
    ).SerializeToString()


@dataclass
class Source:
    """Another partition: which of its origins name users of the target, and how far its owner has committed."""

    named: list[int] = field(default_factory=list)
    end: int = 0
    committed: int = 0


@dataclass
class Forwarder:
    """An owner of a source partition, by R1."""

    partition: int
    source: Source
    zombie: bool = False
    next_offset: int = 0
    previous: int | None = None
    in_flight: list[tuple[int, int | None]] = field(default_factory=list)
    failed: list[tuple[int, int | None]] = field(default_factory=list)

    def read_one(self) -> None:
        """Forward the next origin, unless it must first send again what failed."""
        if self.failed or self.next_offset >= self.source.end or len(self.in_flight) > 3:
            return
        if self.next_offset in self.source.named:
            self.in_flight.append((self.next_offset, self.previous))
            self.previous = self.next_offset
        self.next_offset += 1

    def send_again(self) -> None:
        """Once nothing is in flight: everything from the first that failed on, in order."""
        if self.failed and not self.in_flight:
            self.next_offset, self.previous = min(self.failed)
            self.failed = []

    def commit(self) -> None:
        """What is not durable holds the commit."""
        if not self.zombie:
            self.source.committed = min([self.next_offset, *(o for o, _ in self.in_flight + self.failed)])


class World:
    """Writes `records`, the target's log, step by step."""

    def __init__(self, seed: int, poison: bool = False) -> None:
        self.random = random.Random(seed)
        self.poison = poison
        self.records: list[LogRecord] = []
        self.sources = {partition: Source() for partition in range(PARTITIONS) if partition != TARGET}
        self.forwarders = [Forwarder(partition, source) for partition, source in self.sources.items()]
        self._now_us = START_US

    def run(self, steps: int = 150) -> "World":
        """Write as much as that gives."""
        for _ in range(steps):
            self._step()
        return self

    def settle(self) -> "World":
        """Faults over: every owner forwards all there is."""
        for forwarder in self.forwarders:
            if not forwarder.zombie:
                while forwarder.next_offset < forwarder.source.end or forwarder.in_flight or forwarder.failed:
                    forwarder.send_again()
                    forwarder.read_one()
                    self._land(forwarder)
                forwarder.commit()
        return self

    def _step(self) -> None:
        self._now_us += self.random.choice([0, 0, TICK_US, 5 * TICK_US, 15 * TICK_US])
        if self.random.random() < 0.02:
            self._now_us += self.random.randrange(
                -150_000_000, 200_000_000
            )  # a silence, or a clock set right
        action = self.random.random()
        if action < 0.3:
            self._append(self._an_origin())
        elif action < 0.45:
            source = self.random.choice(list(self.sources.values()))
            if self.random.random() < 0.7:
                source.named.append(source.end)
            source.end += 1
        elif action < 0.5 and self.poison:
            self._append(self.random.choice(list(_poison())))
        else:
            self._forward(self.random.choice(self.forwarders))

    def _forward(self, forwarder: Forwarder) -> None:
        action = self.random.random()
        if action < 0.4:
            forwarder.read_one()
        elif action < 0.7:
            self._land(forwarder)
        elif action < 0.76 and forwarder.in_flight:
            forwarder.failed.append(forwarder.in_flight.pop(0))
        elif action < 0.8 and forwarder.in_flight:  # landed, but the answer was lost
            self._append(copy(forwarder.partition, *forwarder.in_flight[0]))
            forwarder.failed.append(forwarder.in_flight.pop(0))
        elif action < 0.9:
            forwarder.send_again()
        elif action < 0.95:
            forwarder.commit()
        elif not forwarder.zombie:
            self._take_over(forwarder)
        elif self.random.random() < 0.3:
            self.forwarders.remove(forwarder)

    def _take_over(self, forwarder: Forwarder) -> None:
        """By another owner, from the commit; the old one crashed, or does not know yet."""
        new = Forwarder(forwarder.partition, forwarder.source, next_offset=forwarder.source.committed)
        self.forwarders.append(new)
        if self.random.random() < 0.5:
            forwarder.zombie = True
        else:
            self.forwarders.remove(forwarder)

    def _land(self, forwarder: Forwarder) -> None:
        if forwarder.in_flight:
            self._append(copy(forwarder.partition, *forwarder.in_flight.pop(0)))

    def _an_origin(self) -> bytes:
        command_id = self.random.choice(["", "a", "b", "c", "d"])
        sender = self.random.choice(["ann", "bob"])
        time_us = self._now_us + self.random.randrange(-90, 90) * TICK_US  # servers' clocks differ
        event = logged(sender, time_us=time_us)
        return origin(sender, command_id, self.random.choice([1, 1, 1, 2]), logged=event)

    def _append(self, value: bytes) -> None:
        back_us = TICK_US * self.random.randrange(80) if self.random.random() < 0.1 else 0
        self.records.append(LogRecord(len(self.records), self._now_us - back_us, value))


def _poison() -> Iterator[bytes]:
    yield b"\xff\xff\xff"
    yield b""
    yield copy(TARGET, 5)
    yield copy(PARTITIONS, 5)
    yield copy(1, 5, 5)
    yield copy(1, -5)
    yield copy(1, 2**50)
    yield copy(2, 1, logged=logged(event=b"\xff"))
    yield origin(command_id="a", logged=logged(kind=99))
    yield origin(command_id="b", logged=logged(kind=log.EVENT_KIND_READ_MARK))
