"""History in a simulated cell: the real reader, rows, SQL and pages; it lags, fails, and starts again from its commit."""

import sqlite3
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar, cast

from event_log import commit_metadata
from event_log.reader import PartitionReader, Verdict
from history_service import embedded_reads, embedded_writes
from history_service.embedded_file import _check
from history_service.port import Batch, EventsAsked, EventsFound, Persisted
from history_service.readers import StoredEvents
from history_service.rows import Rows, add_gap
from messaging_core.events import EventsPage
from tests.simulation.log import INCARNATION, SimLog
from tests.simulation.truth import RefKey, Truth, Violation

if TYPE_CHECKING:
    from tests.simulation.servers import Stream

T = TypeVar("T")

WIDE_ABOVE = (2, 16)
"""Participants above which users share inbox rows: a setting that may be another at each start."""


def done(work: "Coroutine[Any, Any, T]") -> T:
    """The result of what never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        return cast(T, stop.value)
    raise AssertionError("it waits")


@dataclass(eq=False)
class Paging:
    """A page on its way: first how far history is, then the rows (R9)."""

    stream: "Stream"
    persisted: Persisted | None = None
    page: EventsPage | None = None


@dataclass
class Reading:
    reader: PartitionReader
    stored: int


class MemoryStore:
    """What pages need of the store port, on a database in memory."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        _check(self.connection, Path("memory"))

    async def persisted(self, incarnation: str, partition: int) -> Persisted:
        return embedded_reads.persisted(self.connection, incarnation, partition)

    async def events(self, asked: EventsAsked) -> EventsFound:
        return embedded_reads.events(self.connection, asked)


class SimHistory:
    """One consumer, which may be started again, over one store."""

    def __init__(self, random: Random, log: SimLog, truth: Truth) -> None:
        self.random = random
        self.log = log
        self.truth = truth
        self.store = MemoryStore()
        self.stored_events = StoredEvents(cast(Any, self.store), INCARNATION)
        self.restart()

    def restart(self) -> None:
        """Another consumer goes on from what was committed."""
        self.rows = Rows(self.truth.partition_of, self.random.choice(WIDE_ABOVE))
        self.reading: dict[int, Reading] = {}
        for partition in self.log.partitions:
            assignment = self.log.assignment("history", partition, 1)
            reader = PartitionReader(partition, INCARNATION, len(self.log.partitions), assignment)
            self.reading[partition] = Reading(reader, reader.acts_from)

    def store_some(self, partition: int, count: int) -> None:
        reading = self.reading[partition]
        reader = reading.reader
        records = self.log.read(partition, reader.next_offset, count)
        batch = Batch(INCARNATION)
        for record in records:
            judged = reader.read(record)
            entry = self.truth.partitions[partition].entries.get(record.offset)
            effective = judged.verdict in (Verdict.EFFECTIVE, Verdict.UNREADABLE)
            if effective != (entry is not None) and record.offset >= reader.exact_from:
                raise Violation(f"I1: history takes {record.offset} of {partition} for {judged.verdict}")
            acts = record.offset >= reader.acts_from
            if judged.verdict is Verdict.EFFECTIVE and acts:
                self.rows.add(batch, partition, judged)
            elif judged.verdict is Verdict.UNREADABLE and acts:
                add_gap(batch, partition, record.offset, judged.time_us)
            if acts:
                batch.positions[partition] = Persisted(record.offset, judged.time_us)
        if batch.positions:
            embedded_writes.write(self.store.connection, batch)
            reading.stored = batch.positions[partition].offset + 1

    def commit(self, partition: int) -> None:
        reading = self.reading[partition]
        if reading.stored > reading.reader.acts_from:
            commit = reading.reader.commit_at(reading.stored)
            self.truth.check_tail(partition, commit_metadata.tail_start_of(commit), commit.offset)
            self.log.committed["history"][partition] = commit

    def read_on(self, paging: Paging) -> bool:
        """The next step of a page; whether it is there."""
        user, position = paging.stream.user, paging.stream.position
        partition = user.view.partition
        if paging.persisted is None:
            paging.persisted = done(self.stored_events.persisted(partition))
            return False
        max_bytes = self.random.choice([1, 400, 100_000])
        page = done(
            self.stored_events.page(user.user_id, partition, position, paging.persisted, 1_000, max_bytes)
        )
        after = position
        for offset in [event.offset for event in page.events] + [page.through_offset + 1]:
            self.truth.check_passed("I9", user.user_id, after, offset)
            after = offset
        paging.page = page
        return True

    @property
    def complete(self) -> bool:
        return all(reading.stored == self.log.end(partition) for partition, reading in self.reading.items())

    # What it holds (I11).

    def messages(self) -> set[tuple[str, RefKey]]:
        query = "select conversation_id, sent_at_us, sender_id, message_id from messages"
        return {(row[0], row[1:]) for row in self.store.connection.execute(query)}

    def reactions(self) -> dict[tuple[RefKey, str, str], bool]:
        query = "select sent_at_us, sender_id, message_id, user_id, key, removed from reactions"
        return {(row[:3], row[3], row[4]): bool(row[5]) for row in self.store.connection.execute(query)}

    def marks(self, user: str) -> dict[tuple[str, str, int], RefKey]:
        query = """select conversation_id, marker_id, kind, sent_at_us, sender_id, message_id
            from marks where user_id = ?"""
        return {row[:3]: row[3:] for row in self.store.connection.execute(query, (user,))}
