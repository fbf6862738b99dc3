"""From the log to the store: reads as group "history", writes in batches, commits what is stored."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from event_log.port import (
    Assignment,
    CommitFenced,
    DeadLetter,
    EventLog,
    GroupConsumer,
    LogRecord,
    LogUnavailable,
    Polled,
)
from event_log.reader import PartitionReader, Reading, Verdict
from history_service.port import Batch, HistoryStore, Persisted, StoreUnavailable
from history_service.rows import Rows, add_gap
from history_service.settings import HistorySettings
from messaging_core.clock import wall_us
from telemetry import catalogue
from telemetry.metrics import Figure, seconds
from telemetry.tracing import Span, SpanKind, Tracer, of_record

GROUP = "history"
_SLICE = 512
"""Records read before others on the event loop get their turn: some 10 ms."""

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Owned:
    """A partition that is read here."""

    reader: PartitionReader
    stored: int
    """The first record not yet stored: what may be committed."""
    committed: int
    waiting_since_us: int = 0
    """When the log took the oldest record that is not stored, or a little before; 0 while all that is known of is."""


@dataclass(slots=True)
class _Work:
    """Records on their way to the store."""

    batch: Batch
    records: int = 0
    owned: dict[int, _Owned] = field(default_factory=dict)
    """Of the partitions that the batch has positions of."""
    letters: list[DeadLetter] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    """Of the records that are traced."""


class HistoryConsumer:
    """Stores the log. At least once, in order within a partition; the store makes it once.

    A position is committed after its records are stored (I3). While the store or the log is away nothing is skipped: reading
    pauses, membership of the group goes on, and the write is tried again until it succeeds.
    """

    def __init__(
        self, log: EventLog, store: HistoryStore, settings: HistorySettings, tracer: Tracer | None = None
    ) -> None:
        """Store what `log` says in `store`, once started."""
        self._tracer = tracer
        self._log = log
        self._store_port = store
        self._settings = settings
        self._rows = Rows(log.partition_of, settings.limits.max_mark_participants)
        self._owned: dict[int, _Owned] = {}
        self._consumer: GroupConsumer | None = None
        self._writes = seconds()
        self._stored = self._failures = self._letters = 0
        self._paused = False
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Join the group and begin."""
        self._task = asyncio.create_task(self._run(), name="history-consumer")

    def figures(self) -> Iterator[Figure]:
        """What it counts, and how far it is behind."""
        yield Figure(catalogue.STORES, self._writes)
        yield Figure(catalogue.STORED, self._stored)
        yield Figure(catalogue.STORE_FAILURES, self._failures)
        yield Figure(catalogue.DEAD_LETTERS, self._letters)
        now_us = wall_us()
        waiting = [owned.waiting_since_us for owned in self._owned.values() if owned.waiting_since_us]
        yield Figure(catalogue.HISTORY_AGE, max(0, now_us - min(waiting, default=now_us)) / 1e6)
        yield Figure(catalogue.OWNED, len(self._owned), (GROUP,))
        if self._consumer is not None:
            for partition, records in self._consumer.lag().items():
                yield Figure(catalogue.LAG, records, (GROUP, str(partition)))

    async def wait_closed(self) -> None:
        """Return once it has stopped. Raises what made it stop, if `close` did not: LogError, StoreError."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def close(self) -> None:
        """Commit what is stored and leave the group. Raises nothing: what failed is told by `wait_closed`."""
        self._closing.set()
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        try:
            async with self._log.consumer(GROUP) as consumer:
                self._consumer = consumer
                await self._consume(consumer)
        except Exception:
            _logger.exception("history stopped")
            raise

    async def _consume(self, consumer: GroupConsumer) -> None:
        clock = asyncio.get_running_loop().time
        interval_s = self._settings.store_interval_s
        if interval_s is None:
            interval_s = self._store_port.write_interval_s
        commit_due = clock() + self._settings.commit_interval_s
        while not self._closing.is_set():
            polled = await self._poll(consumer, max(0.0, commit_due - clock()))
            begun = clock()
            self._note_waiting(polled)
            async with aclosing(self._works(polled.records)) as works:
                async for work in works:
                    if not await self._store(consumer, work):
                        break
            self._note_stored(consumer, polled)
            if 0 < _size_bytes(polled) < self._settings.full_round_bytes:
                await self._pause_until(begun + interval_s)
            if clock() >= commit_due:
                await self._commit(consumer, self._owned)
                commit_due = clock() + self._settings.commit_interval_s
        await self._commit(consumer, self._owned)

    async def _pause_until(self, due: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._closing.wait()

    # Group membership

    async def _poll(self, consumer: GroupConsumer, timeout_s: float) -> Polled:
        """The next records; what else happened is done with. Empty when closing, or when the log is away."""
        poll = asyncio.ensure_future(consumer.poll(timeout_s))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait((poll, closing), return_when=asyncio.FIRST_COMPLETED)
            if not poll.done():
                return Polled((), (), ())
            polled = poll.result()
        except LogUnavailable as error:
            _logger.warning("the log is away: %s", error)
            await asyncio.wait((closing,), timeout=self._settings.retry_min_s)
            return Polled((), (), ())
        finally:
            await _cancel(poll, closing)
        await self._commit(consumer, polled.revoked)
        for partition in polled.revoked:
            self._owned.pop(partition, None)
        for assignment in polled.assigned:
            self._assign(consumer, assignment)
        # Reading starts anew, at the tail, where this poll assigned a partition.
        anew = {assignment.partition for assignment in polled.assigned}
        return polled._replace(records=tuple(each for each in polled.records if each[0] not in anew))

    def _assign(self, consumer: GroupConsumer, assignment: Assignment) -> None:
        partition = assignment.partition
        reader = PartitionReader(partition, self._log.incarnation, self._log.partition_count, assignment)
        consumer.seek(partition, reader.tail_start)
        committed = assignment.committed.offset if assignment.committed else -1
        self._owned[partition] = _Owned(reader, reader.acts_from, committed)
        if self._paused:
            consumer.pause((partition,))

    async def _commit(self, consumer: GroupConsumer, partitions: Iterable[int]) -> None:
        """Commit what is stored of these; what cannot be now, will be the next time or by the next owner."""
        due = {}
        for partition in partitions:
            owned = self._owned.get(partition)
            if owned is not None and owned.reader.acts_from < owned.stored != owned.committed:
                due[partition] = owned
        if not due:
            return
        commits = {partition: owned.reader.commit_at(owned.stored) for partition, owned in due.items()}
        try:
            await consumer.commit(commits)
        except CommitFenced:
            _logger.info("a commit came too late: another consumer owns a partition now")
        except LogUnavailable as error:
            _logger.warning("a commit failed and will be tried again: %s", error)
        else:
            for partition, commit in commits.items():
                due[partition].committed = commit.offset

    # How far behind

    def _note_waiting(self, polled: Polled) -> None:
        """These records wait to be stored, but for those that are only read again."""
        for partition, records in polled.records:
            owned = self._owned[partition]
            if records[-1].offset >= (first := owned.reader.acts_from):
                owned.waiting_since_us = next(r.append_time_us for r in records if r.offset >= first)

    def _note_stored(self, consumer: GroupConsumer, polled: Polled) -> None:
        """Now they are; those that follow them, where there are any, are younger."""
        lag, read = consumer.lag(), dict(polled.records)
        for partition, owned in self._owned.items():
            if not lag.get(partition):
                owned.waiting_since_us = 0
            elif partition in read and read[partition][-1].offset >= owned.reader.acts_from:
                owned.waiting_since_us = read[partition][-1].append_time_us
            elif not owned.waiting_since_us:
                owned.waiting_since_us = wall_us()

    # Records

    async def _works(self, records: Sequence[tuple[int, Sequence[LogRecord]]]) -> AsyncGenerator[_Work, None]:
        """Read records, piece by piece. Those of a partition that is lost meanwhile do no harm: they are not committed."""
        owners = [self._owned[partition] for partition, _ in records]
        work = _Work(Batch(self._log.incarnation))
        for owned, (partition, batch) in zip(owners, records, strict=True):
            for record in batch:
                self._read(work, partition, owned, record)
                if work.records % _SLICE == 0:
                    await asyncio.sleep(0)
                if work.records >= self._store_port.batch_records:
                    yield work
                    work = _Work(Batch(self._log.incarnation))
        if work.records:
            yield work

    def _read(self, work: _Work, partition: int, owned: _Owned, record: LogRecord) -> None:
        reading = owned.reader.read(record)
        work.records += 1
        acts = record.offset >= owned.reader.acts_from
        if reading.verdict is Verdict.EFFECTIVE and acts:
            self._rows.add(work.batch, partition, reading)
            if self._tracer is not None and reading.traceparent:
                work.spans.append(_span(self._tracer, partition, reading))
        elif reading.verdict is Verdict.UNREADABLE and acts:
            add_gap(work.batch, partition, record.offset, reading.time_us)
            work.letters.append(
                DeadLetter(
                    partition,
                    record.offset,
                    reading.reason,
                    record.value,
                    record.append_time_us,
                    reading.time_us,
                    reading.counted,
                )
            )
        if acts:
            work.batch.positions[partition] = Persisted(record.offset, reading.time_us)
            work.owned[partition] = owned

    async def _store(self, consumer: GroupConsumer, work: _Work) -> bool:
        """Store it, however long that takes; False if it was given up because of closing."""
        if not work.owned:
            return True
        delay_s = self._settings.retry_min_s
        clock = asyncio.get_running_loop().time
        while True:
            began_s = clock()
            try:
                if work.letters:
                    await self._log.dead_letter(work.letters)
                await self._store_port.write(work.batch)
                break
            except (StoreUnavailable, LogUnavailable) as error:
                self._failures += 1
                _logger.warning("records cannot be stored now, trying again in %.1f s: %s", delay_s, error)
            await self._wait(consumer, delay_s)
            if self._closing.is_set():
                return False
            delay_s = min(2 * delay_s, self._settings.retry_max_s)
        self._writes.add(clock() - began_s)
        self._stored += work.records
        self._letters += len(work.letters)
        for letter in work.letters:
            _logger.error(
                "a dead letter: record %d of partition %d, %s", letter.offset, letter.partition, letter.reason
            )
        for span in work.spans:
            span.end("", {"messaging.batch.message_count": work.records})
        for partition, owned in work.owned.items():
            owned.stored = work.batch.positions[partition].offset + 1
        return True

    async def _wait(self, consumer: GroupConsumer, delay_s: float) -> None:
        """Wait as a live member of the group, taking no records."""
        clock = asyncio.get_running_loop().time
        until = clock() + delay_s
        self._paused = True
        consumer.pause(self._owned)
        while (left_s := until - clock()) > 0 and not self._closing.is_set():
            polled = await self._poll(consumer, left_s)
            assert not polled.records, "paused partitions have no records"
        self._paused = False
        consumer.resume(self._owned)


def _span(tracer: Tracer, partition: int, reading: Reading) -> Span:
    """From when the record was read until it is stored."""
    attributes = of_record(
        "process",
        "process",
        partition,
        {"messaging.consumer.group.name": GROUP, "cell.log.offset": reading.offset},
    )
    return tracer.start("process log", SpanKind.CONSUMER, reading.traceparent, attributes)


def _size_bytes(polled: Polled) -> int:
    return sum([len(record.value) for _, records in polled.records for record in records])


async def _cancel(*tasks: "asyncio.Future[Any]") -> None:
    """End what is still under way."""
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending)
