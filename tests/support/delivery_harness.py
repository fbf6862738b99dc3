"""Delivery services at work: on the embedded log, with servers at the other end of real links, and a small history."""

import asyncio
import random
import uuid
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import grpc

from cell.delivery.v1 import session_link_pb2 as link
from delivery_service.forwarding import ForwardingSettings
from delivery_service.service import DeliveryService, DeliverySettings, LinkTarget
from event_log.port import (
    Assignment,
    Commit,
    DeadLetter,
    EventLog,
    Fate,
    GroupConsumer,
    LogError,
    LogRecord,
    NewRecord,
    Settled,
    Tag,
)
from event_log.reader import PartitionReader, Verdict
from session_link.grpc_link import SERVER_OPTIONS, add_session_link_service, dial
from session_link.in_process import in_process_link
from session_link.port import LinkClosed, OwnerEnd, ServerEnd
from session_link.routed import to_message
from tests.support.link_server import LinkServer, Session, State
from tests.support.log_records import origin_record

QUICK = DeliverySettings(
    commit_interval_s=0.05,
    through_interval_s=0.01,
    min_backoff_s=0.01,
    max_backoff_s=0.1,
    poll_timeout_s=0.02,
    forwarding=ForwardingSettings(backoff_s=0.01, max_backoff_s=0.05),
)
"""Everything soon, so that tests see much of it."""


class TroubledLog(EventLog):
    """A log of which single partitions take nothing for a time, or whose appends fail or answer wrongly now and then."""

    def __init__(self, log: EventLog, seed: int = 0) -> None:
        self.log = log
        self.stalled: set[int] = set()
        self.refused: dict[int, LogError] = {}
        """What a call raises that appends to one of these partitions."""
        self.trouble = 0.0
        """How likely an append to another partition than its own fails, in one way or another."""
        self._random = random.Random(seed)
        self._held: list[tuple[NewRecord[object], Callable[[Sequence[Settled[object]]], None]]] = []

    def recover(self) -> None:
        """The stalled partitions take what they were given."""
        self.stalled.clear()
        held, self._held = self._held, []
        for record, on_settled in held:
            self.log.append([record], on_settled)

    def append(
        self, records: Sequence[NewRecord[Tag]], on_settled: Callable[[Sequence[Settled[Tag]]], None]
    ) -> None:
        for record in records:
            if record.partition in self.refused:
                raise self.refused[record.partition]
        well: list[NewRecord[Tag]] = []
        lost: list[Settled[Tag]] = []
        silent: list[NewRecord[Tag]] = []
        for record in records:
            chance = self._random.random() / self.trouble if self.trouble else 1.0
            if record.partition in self.stalled:
                self._held.append((record, on_settled))  # type: ignore[arg-type]
            elif chance < 0.5:
                lost.append(Settled(record.tag, Fate.NOT_APPENDED, -1))
            elif chance < 1.0:
                silent.append(record)
            else:
                well.append(record)
        if lost:
            asyncio.get_running_loop().call_soon(on_settled, lost)
        if silent:
            self.log.append(silent, lambda done: on_settled([Settled(s.tag, Fate.UNKNOWN, -1) for s in done]))
        if well:
            self.log.append(well, on_settled)

    @property
    def incarnation(self) -> str:
        return self.log.incarnation

    @property
    def partition_count(self) -> int:
        return self.log.partition_count

    def partition_of(self, user_id: str) -> int:
        return self.log.partition_of(user_id)

    def consumer(self, group: str) -> GroupConsumer:
        return self.log.consumer(group)

    async def read(self, partition: int, offset: int, max_bytes: int) -> Sequence[LogRecord]:
        return await self.log.read(partition, offset, max_bytes)

    async def end_offsets(self, partitions: Iterable[int]) -> Mapping[int, int]:
        return await self.log.end_offsets(partitions)

    async def committed(self, group: str, partitions: Iterable[int]) -> Mapping[int, Commit]:
        return await self.log.committed(group, partitions)

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        await self.log.dead_letter(letters)

    def dead_letters(self) -> AsyncIterator[DeadLetter]:
        return self.log.dead_letters()

    async def forget_dead_letters(self, places: Collection[tuple[int, int]]) -> None:
        await self.log.forget_dead_letters(places)

    async def close(self) -> None:
        await self.log.close()


class Cell:
    """A log, one server, any number of delivery services."""

    def __init__(self, log: EventLog, settings: DeliverySettings) -> None:
        self.log = log
        self.settings = settings
        self.server = LinkServer(log.partition_of)
        self.services: list[DeliveryService] = []
        self.ends: list[ServerEnd] = []
        self.sent = 0
        self.stored: dict[int, list[tuple[int, Sequence[str] | None]]] = {}
        """By history: the effective records of each partition."""
        self.stored_to: dict[int, int] = {}
        self.dial: Callable[[], Awaitable[OwnerEnd]] = self._dial_in_process
        self._tasks: set[asyncio.Task[None]] = set()

    # --- the server ---

    async def serve(self, end: ServerEnd) -> None:
        """The server's side of one link."""

        def send(message: link.ServerMessage) -> None:
            with suppress(LinkClosed):
                end.send([message])

        self.ends.append(end)
        opened = self.server.open(send)
        try:
            while True:
                for message in await end.receive():
                    self.server.hear(opened, to_message(message))
        except LinkClosed:
            pass
        finally:
            self.server.ended(opened)
            self.ends.remove(end)
            await end.close()

    async def _dial_in_process(self) -> OwnerEnd:
        owner, server = in_process_link()
        self.run(self.serve(server))
        return owner

    def run(self, work: Coroutine[None, None, None]) -> None:
        """Run something until the cell is closed."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- delivery services ---

    async def start_service(self) -> DeliveryService:
        """One more instance."""
        made = replace(self.settings, instance_id=uuid.uuid4().hex)
        service = DeliveryService(log=self.log, targets=[LinkTarget("server", self.dial)], settings=made)
        await service.start()
        self.services.append(service)
        return service

    async def stop_service(self, service: DeliveryService) -> None:
        """A planned stop."""
        self.services.remove(service)
        await service.close()

    async def kill_service(self, service: DeliveryService) -> None:
        """As kill -9: it commits nothing, releases nothing, and its links break."""
        self.services.remove(service)
        tasks = [service._consuming, *service._tasks]
        service._stopping = True  # what still settles starts nothing new
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await service._consumer.close()

    # --- history ---

    async def keep_history(self) -> None:
        """Store what is effective, and commit; like the history service, in memory."""
        readers: dict[int, PartitionReader] = {}
        async with self.log.consumer("history") as consumer:
            while True:
                polled = await consumer.poll(0.05)
                for assignment in polled.assigned:
                    number = assignment.partition
                    readers[number] = PartitionReader(
                        number, self.log.incarnation, self.log.partition_count, assignment
                    )
                    consumer.seek(number, readers[number].tail_start)
                for number, records in polled.records:
                    self.stored.setdefault(number, []).extend(effective(readers[number], records))
                    self.stored_to[number] = readers[number].next_offset
                if polled.records:
                    commits = {
                        number: readers[number].commit_at(self.stored_to[number])
                        for number, _ in polled.records
                    }
                    await consumer.commit(commits)

    async def page_sessions(self) -> None:
        """Serve sessions that are behind, from history."""
        while True:
            for session in [s for s in self.server.sessions.values() if s.state is State.PAGING]:
                through = self.stored_to.get(session.partition, 0) - 1
                rows = self.stored.get(session.partition, [])
                due = [
                    (o, b"")
                    for o, users in rows
                    if session.last < o and (users is None or session.user in users)
                ]
                self.server.page(session, due, max(through, session.last))
            await asyncio.sleep(0.01)

    # --- clients ---

    async def send(self, sender: str, *recipients: str) -> None:
        """Append a message as a messaging server does, and wait until it is durable."""
        self.sent += 1
        value = origin_record(sender, recipients, f"text {self.sent}", command_id=f"id-{self.sent}")
        done: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()
        inner = self.log.log if isinstance(self.log, TroubledLog) else self.log
        inner.append(
            [NewRecord(self.log.partition_of(sender), value, None)], lambda s: done.set_result(s[0].fate)
        )
        assert await done is Fate.APPENDED

    async def truth(self) -> dict[int, list[tuple[int, Sequence[str] | None]]]:
        """The effective records of each partition, by a reader that never stops."""
        found: dict[int, list[tuple[int, Sequence[str] | None]]] = {}
        count = self.log.partition_count
        for number, end in (await self.log.end_offsets(range(count))).items():
            reader = PartitionReader(number, self.log.incarnation, count, Assignment(number, 1, None, 0, end))
            found[number] = []
            while reader.next_offset < end:
                found[number] += effective(reader, await self.log.read(number, reader.next_offset, 1 << 20))
        return found

    async def due(self, session: Session) -> list[int]:
        """What a session is to have by now."""
        rows = (await self.truth())[session.partition]
        return [o for o, users in rows if o > session.start and (users is None or session.user in users)]

    async def settled(self, expected: Mapping[Session, int]) -> None:
        """Wait until every session is live and has so many events; then they are exactly those that are due."""
        while not all(
            session.state is State.LIVE and len(session.received) >= count
            for session, count in expected.items()
        ):
            await asyncio.sleep(0.01)
        for session, count in expected.items():
            assert session.received == await self.due(session)
            assert len(session.received) == count

    async def close(self) -> None:
        """Stop everything."""
        for service in list(self.services):
            await self.stop_service(service)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def effective(
    reader: PartitionReader, records: Sequence[LogRecord]
) -> list[tuple[int, Sequence[str] | None]]:
    """(offset, for whom) of each effective record; None is everyone."""
    found: list[tuple[int, Sequence[str] | None]] = []
    for record in records:
        reading = reader.read(record)
        if reading.verdict is Verdict.EFFECTIVE:
            found.append((reading.offset, tuple(reading.recipients)))
        elif reading.verdict is Verdict.UNREADABLE:
            found.append((reading.offset, None))
    return found


@asynccontextmanager
async def running_cell(
    log: EventLog, *, over_grpc: bool = False, settings: DeliverySettings = QUICK
) -> AsyncIterator[Cell]:
    """A cell with history and paging, without any delivery service yet."""
    cell = Cell(log, settings)
    server = grpc.aio.server(options=SERVER_OPTIONS) if over_grpc else None
    if server is not None:
        add_session_link_service(server, cell.serve)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        cell.dial = lambda: dial(f"127.0.0.1:{port}")
    cell.run(cell.keep_history())
    cell.run(cell.page_sessions())
    try:
        yield cell
    finally:
        await cell.close()
        if server is not None:
            await server.stop(0)
