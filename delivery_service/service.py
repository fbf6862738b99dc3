"""The delivery service's shell: a consumer loop, a loop for each link, and what follows the log's slower answers."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import structlog

from cell.delivery.v1 import session_link_pb2 as link
from delivery_service.figures import DeliveryFigures
from delivery_service.forwarding import Parcel
from delivery_service.links import Links, LinkTarget
from delivery_service.outbox import Outbox
from delivery_service.partition import OwnedPartition
from delivery_service.settings import DeliverySettings
from event_log.port import (
    Assignment,
    Commit,
    CommitFenced,
    EventLog,
    Fate,
    GroupConsumer,
    LogFull,
    LogRecord,
    LogUnavailable,
    NewRecord,
    Polled,
    Settled,
    Truncated,
)
from messaging_core.clock import wall_us
from telemetry import catalogue
from telemetry.metrics import Figure
from telemetry.tracing import Tracer

GROUP = "delivery"
HISTORY_GROUP = "history"
_SLICE = 256
"""Records read before others on the event loop get their turn."""
_BATCH_BYTES = 512 * 1024
"""Of copies, handed to the log at once."""
_PATIENCE_S = 0.1
"""How long partitions wait for what the log is asked for another one."""

_log = structlog.get_logger(__name__)

__all__ = ["DeliveryService", "DeliverySettings", "LinkTarget"]


class DeliveryService:
    """A member of the delivery group: owns partitions, and tells every target's server their events.

    `start` and `close` once each. A planned stop commits, releases and leaves the group, so that others take over at once.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        settings: DeliverySettings,
        targets: Iterable[LinkTarget] = (),
        tracer: Tracer | None = None,
    ) -> None:
        """Links are kept to `targets`, and to those that are added later."""
        self._log = log
        self._settings = settings
        self._tracer = tracer
        self._figures = DeliveryFigures()
        self._owned: dict[int, OwnedPartition] = {}
        self._claimed: set[int] = set()
        self._paused: set[int] = set()
        self._targets = tuple(targets)
        self._links = Links(settings, self._welcome, self._hear, self._unlink)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._wanted = asyncio.Event()
        self._serving: dict[OwnedPartition, asyncio.Task[None]] = {}
        """What the log is asked for partitions, each once at a time."""
        self._settled = asyncio.Event()

    async def start(self) -> None:
        """Join the group and dial the targets; returns at once."""
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._failed: asyncio.Future[None] = loop.create_future()
        self._consumer: GroupConsumer = self._log.consumer(GROUP)
        self._commit_due_s = self._sweep_due_s = self._now()
        self._committing = self._run(partial(self._commit, ()))
        self._consuming = self._run(self._consume)
        self._tasks = [self._run(self._follow_history), self._run(self._serve_from_log)]
        for target in self._targets:
            self.add_target(target)

    def add_target(self, target: LinkTarget) -> None:
        """Keep a link to another server, too; once started."""
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(self._run(partial(self._links.keep, target)))

    def figures(self) -> Iterator[Figure]:
        """What it counts, and owns now; once started."""
        owned = self._owned.values()
        yield from self._figures
        yield Figure(catalogue.OWNED, len(owned), (GROUP,))
        yield Figure(catalogue.PAUSED, len(self._paused))
        yield Figure(catalogue.WINDOW, sum([partition.window_bytes for partition in owned]))
        yield Figure(catalogue.FORWARDING, sum([partition.forwarder.queued_bytes for partition in owned]))
        ahead_us = max([partition.log_time_us for partition in owned], default=0) - wall_us()
        yield Figure(catalogue.LOG_AHEAD, max(0, ahead_us) / 1e6)
        for partition, records in self._consumer.lag().items():
            yield Figure(catalogue.LAG, records, (GROUP, str(partition)))
        yield Figure(catalogue.LINKS, len(self._links.outboxes()))
        yield Figure(catalogue.LINK_QUEUES, self._links.queued_bytes)

    async def failed(self) -> None:
        """Wait until the service cannot go on, and raise why. Returns once it is closed."""
        await asyncio.shield(self._failed)

    async def close(self) -> None:
        """Hand over what is owned, end the links and leave the group."""
        self._stopping = True
        await asyncio.wait((self._consuming,))
        await self._links.close()
        tasks = [*self._tasks, *self._serving.values(), self._committing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._consumer.close()
        if not self._failed.done():
            self._failed.set_result(None)
        self._failed.exception()  # whoever did not ask does not want to know

    def _run(self, work: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
        async def run() -> None:
            try:
                await work()
            except Exception as error:
                _log.exception("delivery_failed")
                if not self._failed.done():
                    self._failed.set_exception(error)

        return asyncio.create_task(run())

    # --- the consumer ---

    async def _consume(self) -> None:
        while not self._stopping:
            try:
                polled = await self._consumer.poll(self._settings.poll_timeout_s)
            except LogUnavailable as error:
                _log.warning("log_unavailable", error=str(error))
                await asyncio.sleep(self._settings.min_backoff_s)
                continue
            await self._take(polled)
            if self._now() >= self._sweep_due_s:
                self._sweep()
                self._sweep_due_s = self._now() + self._settings.through_interval_s
            if self._now() >= self._commit_due_s and self._committing.done():
                # Beside the consumer: a commit may take seconds, while the group finds together again for example.
                self._committing = self._run(partial(self._commit, tuple(self._owned.values())))
                self._commit_due_s = self._now() + self._settings.commit_interval_s
        await self._hand_over(tuple(self._owned))

    async def _take(self, polled: Polled) -> None:
        if polled.revoked:
            await self._hand_over(polled.revoked)
        for assignment in polled.assigned:
            self._take_over(assignment)
        sought = {assignment.partition for assignment in polled.assigned}
        for number, records in polled.records:
            # Records that came with the assignment are from before the seek; they come again, after the tail.
            if (partition := self._owned.get(number)) is not None and number not in sought:
                await self._read(partition, records)
        self._settle_up([self._owned[number] for number, _ in polled.records if number in self._owned])

    async def _read(self, partition: OwnedPartition, records: Sequence[LogRecord]) -> None:
        start = 0
        while start < len(records):
            start += partition.take(records[start : start + _SLICE])
            self._claim_if_active(partition)
            if start < len(records):
                self._settle_up((partition,))
                if partition.number in self._paused:
                    # The others are polled again when there is room for their copies.
                    self._consumer.seek(partition.number, partition.position)
                    return
                await asyncio.sleep(0)
                if self._owned.get(partition.number) is not partition:  # a commit was fenced meanwhile
                    return

    def _settle_up(self, partitions: Collection[OwnedPartition]) -> None:
        """What follows from what these partitions have read: copies, pauses, attaches that need the log, sends."""
        self._append(partitions)
        self._pause_and_resume(partitions)
        self._ask_log(partitions)
        self._links.flush()

    def _sweep(self) -> None:
        """What comes with time: positions, and copies that failed before."""
        for partition in self._owned.values():
            partition.tell_through()
        self._settle_up(self._owned.values())

    def _pause_and_resume(self, partitions: Iterable[OwnedPartition]) -> None:
        """Hold a source whose copies cannot go out (R6); the others go on."""
        full = [p.number for p in partitions if p.forwarder.full and p.number not in self._paused]
        roomy = [number for number in self._paused if self._owned[number].forwarder.roomy]
        if full:
            self._consumer.pause(full)
            self._paused.update(full)
        if roomy:
            self._consumer.resume(roomy)
            self._paused.difference_update(roomy)

    # --- owning ---

    def _take_over(self, assignment: Assignment) -> None:
        partition = OwnedPartition(
            assignment,
            incarnation=self._log.incarnation,
            partition_count=self._log.partition_count,
            partition_of=self._log.partition_of,
            settings=self._settings,
            tracer=self._tracer,
            figures=self._figures,
        )
        self._owned[assignment.partition] = partition
        self._consumer.seek(assignment.partition, partition.seek_to)
        self._claim_if_active(partition)

    def _claim_if_active(self, partition: OwnedPartition) -> None:
        if partition.active and partition.number not in self._claimed:
            self._claimed.add(partition.number)
            for outbox in self._links.outboxes():
                outbox.claim(partition.number, partition.generation)

    async def _hand_over(self, numbers: Iterable[int]) -> None:
        """Commit what can be, so that the next owner repeats little, and tell the servers."""
        going = [self._owned[number] for number in numbers if number in self._owned]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.hand_over_timeout_s):
                while any(partition.forwarder.in_flight for partition in going):
                    self._settled.clear()
                    await self._settled.wait()
        await self._stop_committing()
        await self._commit(going)
        for partition in going:
            self._drop(partition)
        self._links.flush()

    def _drop(self, partition: OwnedPartition) -> None:
        number = partition.number
        if self._owned.get(number) is not partition:
            return
        del self._owned[number]
        self._paused.discard(number)
        for asked in partition.give_up():
            asked.outbox.reply(asked.attach, link.ATTACH_OUTCOME_NOT_OWNER)
        if number in self._claimed:
            self._claimed.remove(number)
            for outbox in self._links.outboxes():
                outbox.release(number)

    async def _stop_committing(self) -> None:
        """So that no older commit comes after what is committed next; whether it got through is not known."""
        if not self._committing.done():
            self._committing.cancel()
            await asyncio.wait((self._committing,))
            for partition in self._owned.values():
                partition.commit_failed()

    async def _commit(self, partitions: Iterable[OwnedPartition]) -> None:
        made = [(p, commit) for p in partitions if (commit := p.commit()) is not None]
        if not made:
            return
        try:
            await self._consumer.commit({partition.number: commit for partition, commit in made})
        except CommitFenced:
            for partition, commit in made:
                await self._commit_one(partition, commit)
        except LogUnavailable as error:
            _log.warning("commit_failed", error=str(error))
            for partition, _ in made:
                partition.commit_failed()

    async def _commit_one(self, partition: OwnedPartition, commit: Commit) -> None:
        """After a batch was fenced: find out which of its partitions have another owner, and let go of those."""
        try:
            await self._consumer.commit({partition.number: commit})
        except CommitFenced:
            _log.warning("partition_lost", partition=partition.number)
            self._drop(partition)
        except LogUnavailable:
            partition.commit_failed()

    # --- copies ---

    def _append(self, partitions: Iterable[OwnedPartition]) -> None:
        now = self._now()
        records = [record for partition in partitions for record in partition.forwarder.take(now)]
        if records:
            self._append_records(records)

    def _append_records(self, records: Sequence[NewRecord[Parcel]]) -> None:
        """Append in batches: a full log takes some of them, so that there is progress; one that is away none."""
        for batch in _batches(records):
            try:
                self._log.append(batch, self._on_settled)
            except (LogFull, LogUnavailable):
                now = self._now()
                for record in batch:
                    record.tag.forwarder.settled(record.tag, Fate.NOT_APPENDED, now)

    def _on_settled(self, settled: Sequence[Settled[Parcel]]) -> None:
        now = self._now()
        sources: set[int] = set()
        for parcel, fate, _ in settled:
            parcel.forwarder.settled(parcel, fate, now)
            sources.add(parcel.forwarder.partition)
        self._settled.set()
        if not self._stopping:
            self._append([self._owned[number] for number in sources if number in self._owned])

    # --- links ---

    def _welcome(self, outbox: Outbox) -> None:
        outbox.hello(self._settings.instance_id, self._log.incarnation, self._log.partition_count)
        for number in self._claimed:
            outbox.claim(number, self._owned[number].generation)

    def _hear(self, outbox: Outbox, message: link.ServerMessage) -> None:
        match message.WhichOneof("message"):
            case "attach":
                attach = message.attach
                if (partition := self._owned.get(attach.partition)) is not None:
                    partition.attach(outbox, attach)
                    self._ask_log((partition,))
                else:
                    outbox.reply(attach, link.ATTACH_OUTCOME_NOT_OWNER)
            case "detach":
                if (partition := self._owned.get(message.detach.partition)) is not None:
                    partition.detach(outbox, message.detach.user_number)

    def _unlink(self, outbox: Outbox) -> None:
        for partition in self._owned.values():
            partition.unlink(outbox)

    # --- answers that need the log ---

    def _ask_log(self, partitions: Iterable[OwnedPartition]) -> None:
        if any(map(_needs_log, partitions)):
            self._wanted.set()

    async def _serve_from_log(self) -> None:
        """Answer attaches that the window cannot, without holding up the consumer.

        One partition after the other, so that little is in memory at a time; but where the log takes long to answer for one,
        the others do not wait for it (I14).
        """
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            for partition in list(self._owned.values()):
                if _needs_log(partition) and partition not in self._serving:
                    task = self._serving[partition] = self._run(partial(self._serve, partition))
                    await asyncio.wait((task,), timeout=_PATIENCE_S)

    async def _serve(self, partition: OwnedPartition) -> None:
        try:
            if asked := partition.past_known_end():
                ends = await self._log.end_offsets((partition.number,))
                partition.judge(asked, ends[partition.number])
            if partition.rereads:
                await self._reread(partition)
        except LogUnavailable as error:
            _log.warning("log_unavailable", error=str(error))
            await asyncio.sleep(self._settings.min_backoff_s)
        del self._serving[partition]
        self._ask_log((partition,))
        self._links.flush()

    async def _reread(self, partition: OwnedPartition) -> None:
        start, needed = partition.reread_from(), partition.reread_needs()
        try:
            records = await self._read_through(partition.number, start, needed)
        except Truncated:
            records = ()
        partition.reread(start, records)

    async def _read_through(self, number: int, start: int, needed: int) -> Sequence[LogRecord]:
        """Records from `start` to `needed` at least, however few an engine gives at a time; none if they are not there."""
        records: list[LogRecord] = []
        while not records or records[-1].offset < needed:
            at = records[-1].offset + 1 if records else start
            more = await self._log.read(number, at, self._settings.reread_bytes)
            if not more:
                return ()
            records += more
        return records

    async def _follow_history(self) -> None:
        """Learn how far history has come: what it has may leave the window and the tail (R8, I4)."""
        while True:
            await asyncio.sleep(self._settings.commit_interval_s)
            with suppress(LogUnavailable):
                if positions := await self._log.committed(HISTORY_GROUP, tuple(self._owned)):
                    for number, commit in positions.items():
                        if number in self._owned:
                            self._owned[number].history_has(commit.offset)


def _needs_log(partition: OwnedPartition) -> bool:
    """Whether some of its attaches can be answered only by the log."""
    return bool(partition.rereads or partition.past_known_end())


def _batches(records: Sequence[NewRecord[Parcel]]) -> Iterable[Sequence[NewRecord[Parcel]]]:
    start, size = 0, 0
    for at, record in enumerate(records):
        size += len(record.value)
        if size >= _BATCH_BYTES:
            yield records[start : at + 1]
            start, size = at + 1, 0
    if start < len(records):
        yield records[start:]
