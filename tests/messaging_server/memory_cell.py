"""A cell around the server under test: an honest owner of all partitions, history and registry, all in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc

from cell.delivery.v1 import session_link_pb2 as link
from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from cell.messaging.v1.messaging_pb2_grpc import MessagingServiceStub
from messaging_core.cursor import incarnation_bytes
from messaging_core.events import EventsPage, HistoryUnavailable, PositionedEvent, positioned
from messaging_core.identity import Identity, TokenInvalid
from messaging_core.refusals import Refused
from messaging_server.server import MessagingServer
from messaging_server.settings import ServerSettings
from session_link.in_process import in_process_link
from session_link.port import LinkClosed, OwnerEnd
from session_link.routed import from_message
from tests.messaging_server.memory_log import MemoryLog


def routed_event(event: PositionedEvent) -> link.RoutedEvent:
    return link.RoutedEvent(
        offset=event.offset,
        piece=event.piece,
        event_time_us=event.time_us,
        direct_ref=event.direct_ref,
        sender_id=event.sender_id if event.direct_ref else "",
    )


class Tokens:
    """Tokens are `user` or `user:expires_at`; of `later` nothing can be said yet."""

    def verify(self, token: str) -> Identity:
        user_id, _, expires = token.partition(":")
        if not user_id or user_id == "bad":
            raise TokenInvalid("the token does not hold")
        if user_id == "later":
            raise Refused(messaging.REJECTED_REASON_UNAVAILABLE, "its key is looked for")
        return Identity(user_id, float(expires) if expires else None)


class MemoryStore:
    """History and registry: knows everything in the log below `persisted`."""

    def __init__(self, memory_log: MemoryLog) -> None:
        self._log = memory_log
        self.conversations: dict[str, tuple[str, ...]] = {}
        self.away = False
        self.gate: asyncio.Event | None = None
        self.lookups = 0
        self.registrations = 0
        self.pages = 0

    async def participants(self, conversation_id: str) -> tuple[str, ...] | None:
        self.lookups += 1
        await self._answer()
        return self.conversations.get(conversation_id)

    async def register(self, conversation_id: str, participants: tuple[str, ...]) -> None:
        self.registrations += 1
        await self._answer()
        self.conversations[conversation_id] = participants

    async def events_after(
        self, user_id: str, partition: int, after_offset: int, max_bytes: int
    ) -> EventsPage:
        self.pages += 1
        await self._answer()
        persisted = len(self._log.records[partition]) - 1
        events: list[PositionedEvent] = []
        size = 0
        for offset in range(after_offset + 1, persisted + 1):
            event = read_event(self._log, partition, offset, user_id)
            if event is None:
                continue
            if events and size + len(event.piece) > max_bytes:
                through = offset - 1
                return EventsPage(events, through, events[-1].time_us, persisted)
            events.append(event)
            size += len(event.piece)
        time_us = events[-1].time_us if events else 0
        return EventsPage(events, persisted, time_us, persisted)

    async def _answer(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise HistoryUnavailable
        await asyncio.sleep(0)


def read_record(memory_log: MemoryLog, partition: int, offset: int) -> tuple[log.LoggedEvent, list[str]]:
    record = log.Record.FromString(memory_log.records[partition][offset].value)
    if record.HasField("origin"):
        return record.origin.logged, list(record.origin.participant_ids)
    return record.copy.logged, list(record.copy.recipient_ids)


def read_event(memory_log: MemoryLog, partition: int, offset: int, user_id: str) -> PositionedEvent | None:
    logged, recipients = read_record(memory_log, partition, offset)
    if user_id not in recipients:
        return None
    newest_us = max(read_record(memory_log, partition, at)[0].event_time_us for at in range(offset + 1))
    return positioned(logged, incarnation_bytes(memory_log.incarnation), partition, offset, newest_us)


class Owner:
    """A delivery service of one link that owns every partition, forwards copies, and keeps everything in its window."""

    def __init__(
        self,
        memory_log: MemoryLog,
        end: OwnerEnd,
        *,
        instance: str = "owner",
        generation: int = 1,
        positions: list[int] | None = None,
    ) -> None:
        self.log = memory_log
        self.end = end
        self.instance = instance
        self.generation = generation
        self.window_start = 0
        self.positions = positions or [0] * memory_log.partition_count
        self.newest_us = [0] * len(self.positions)
        self.users: list[dict[str, int]] = [{} for _ in self.positions]
        self.attaches: list[link.Attach] = []
        self.detaches = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    async def __aenter__(self) -> "Owner":
        hello = link.LinkHello(
            instance_id=self.instance,
            log_incarnation=self.log.incarnation,
            partition_count=self.log.partition_count,
        )
        self._send(link.OwnerMessage(hello=hello))
        for partition in range(self.log.partition_count):
            claim = link.Claim(partition=partition, generation=self.generation)
            self._send(link.OwnerMessage(claim=claim))
        self.log.on_append = lambda partition: self._news.set()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._read())]
        self._news.set()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.end.close()

    def _send(self, message: link.OwnerMessage) -> None:
        self.end.send([from_message(message)])

    async def _listen(self) -> None:
        with contextlib.suppress(LinkClosed):
            while True:
                for message in await self.end.receive():
                    if message.HasField("detach"):
                        self.detaches += 1
                        users = self.users[message.detach.partition]
                        for name in [
                            n for n, number in users.items() if number == message.detach.user_number
                        ]:
                            del users[name]
                    else:
                        self._attach(message.attach)

    def _attach(self, attach: link.Attach) -> None:
        self.attaches.append(attach)
        partition, at = attach.partition, self.positions[attach.partition]
        reply = link.AttachReply(
            partition=partition, session_number=attach.session_number, attempt=attach.attempt
        )
        if attach.after_offset + 1 < min(self.window_start, at):
            reply.outcome = link.ATTACH_OUTCOME_BEHIND
            self._send(link.OwnerMessage(attach_reply=reply))
            return
        reply.outcome = link.ATTACH_OUTCOME_ATTACHED
        reply.through_offset = at - 1
        size = 0
        for offset in range(attach.after_offset + 1, at):
            event = read_event(self.log, partition, offset, attach.user_id)
            if event is None:
                continue
            if reply.events and size + len(event.piece) > attach.credit_bytes:
                reply.outcome = link.ATTACH_OUTCOME_PARTIAL
                reply.through_offset = offset - 1
                break
            size += len(event.piece)
            reply.events.append(routed_event(event))
            reply.through_time_us = max(reply.through_time_us, event.time_us)
        if reply.outcome == link.ATTACH_OUTCOME_ATTACHED:
            self.users[partition][attach.user_id] = attach.user_number
        self._send(link.OwnerMessage(attach_reply=reply))

    async def _read(self) -> None:
        with contextlib.suppress(LinkClosed):
            while True:
                await self._news.wait()
                self._news.clear()
                for partition in range(self.log.partition_count):
                    self._read_partition(partition)

    def _read_partition(self, partition: int) -> None:
        records = self.log.records[partition]
        start = self.positions[partition]
        newest_us = self.newest_us[partition]
        while self.positions[partition] < len(records):
            offset = self.positions[partition]
            self.positions[partition] += 1
            logged, recipients = read_record(self.log, partition, offset)
            newest_us = self.newest_us[partition] = max(self.newest_us[partition], logged.event_time_us)
            event = positioned(logged, incarnation_bytes(self.log.incarnation), partition, offset, newest_us)
            users = self.users[partition]
            numbers = [users[name] for name in recipients if name in users]
            if numbers:
                routed = link.Routed(partition=partition, event=routed_event(event), user_numbers=numbers)
                self._send(link.OwnerMessage(routed=routed))
            record = log.Record.FromString(records[offset].value)
            if record.HasField("origin"):
                self._forward(partition, offset, record.origin)
        if self.positions[partition] > start:
            through = link.Through(
                partition=partition, offset=self.positions[partition] - 1, time_us=newest_us
            )
            self._send(link.OwnerMessage(through=through))

    def _forward(self, partition: int, offset: int, origin: log.Origin) -> None:
        targets: dict[int, list[str]] = {}
        for name in origin.participant_ids:
            targets.setdefault(self.log.partition_of(name), []).append(name)
        targets.pop(partition, None)
        for target, names in targets.items():
            copy = log.Copy(
                logged=origin.logged, source_partition=partition, source_offset=offset, recipient_ids=names
            )
            self.log.put(target, log.Record(copy=copy).SerializeToString())


class Cell:
    """The server under test on a free port, with everything it needs."""

    def __init__(self, settings: ServerSettings, partition_count: int) -> None:
        self.log = MemoryLog(partition_count)
        self.store = MemoryStore(self.log)
        self.settings = settings
        self.server: MessagingServer
        self.owner: Owner
        self.address = ""

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(
            self.address, options=(("grpc.max_receive_message_length", 8 << 20),)
        )


@contextlib.asynccontextmanager
async def running_cell(
    settings: ServerSettings | None = None, *, partition_count: int = 4, owner: bool = True, **changes: Any
) -> AsyncIterator[Cell]:
    cell = Cell(replace(settings or ServerSettings(server_id="server-1"), **changes), partition_count)
    cell.server = MessagingServer(
        log=cell.log,
        history=cell.store,
        registry=cell.store,
        authenticator=Tokens(),
        settings=cell.settings,
    )
    grpc_server = grpc.aio.server()
    cell.server.add_to(grpc_server)
    cell.address = f"127.0.0.1:{grpc_server.add_insecure_port('127.0.0.1:0')}"
    await grpc_server.start()
    async with contextlib.AsyncExitStack() as stack:
        if owner:
            cell.owner = await stack.enter_async_context(link_owner(cell))
        try:
            yield cell
        finally:
            await cell.server.close()
            await grpc_server.stop(None)


@contextlib.asynccontextmanager
async def link_owner(cell: Cell, **details: Any) -> AsyncIterator[Owner]:
    """A delivery service that dials the server and owns everything until it leaves."""
    owner_end, server_end = in_process_link()
    serving = asyncio.create_task(cell.server.serve_link(server_end))
    try:
        async with Owner(cell.log, owner_end, **details) as owner:
            yield owner
    finally:
        await serving


class Client:
    """A client made from the protos alone."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self.metadata = (("authorization", f"Bearer {token}"),)
        self.stub: Any = MessagingServiceStub(channel)
        self.call: Any = None
        self.updates: list[messaging.Update] = []
        self._next_id = 0

    async def connect(self, hello: messaging.Hello | None = None, *, wait: bool = True) -> messaging.Welcome:
        self.call = self.stub.Connect(metadata=self.metadata)
        await self.send(messaging.Command(hello=hello or messaging.Hello()))
        welcome = (await self.until("welcome")).welcome
        if wait:
            await self.until("resumed")
        return welcome

    async def send(self, *commands: messaging.Command) -> list[int]:
        for command in commands:
            self._next_id += 1
            command.command_id = command.command_id or self._next_id
        await self.call.write(messaging.ConnectRequest(commands=commands))
        return [command.command_id for command in commands]

    async def message(self, to: str, text: str, message_id: str) -> messaging.Update:
        """Send and wait for the outcome."""
        (command_id,) = await self.send(text_message(to, text, message_id))
        return await self.outcome(command_id)

    async def outcome(self, command_id: int) -> messaging.Update:
        while True:
            update = await self.until("accepted", "rejected", "pong")
            which = update.WhichOneof("update")
            assert which
            if getattr(update, which).command_id == command_id:
                return update

    async def until(self, *kinds: str) -> messaging.Update:
        """The next update of a kind; others are kept for `events`."""
        for index, update in enumerate(self.updates):
            if update.WhichOneof("update") in kinds:
                return self.updates.pop(index)
        while True:
            seen = len(self.updates)
            self.updates += await self.read()
            for index in range(seen, len(self.updates)):
                if self.updates[index].WhichOneof("update") in kinds:
                    return self.updates.pop(index)

    async def read(self) -> list[messaging.Update]:
        response = await self.call.read()
        if response is grpc.aio.EOF:
            raise EOFError
        return list(response.updates)

    async def event(self) -> messaging.Event:
        return (await self.until("event")).event

    async def ended(self) -> grpc.aio.AioRpcError:
        """The error that ends the stream."""
        try:
            while True:
                self.updates += await self.read()
        except grpc.aio.AioRpcError as error:
            return error


def text_message(to: str, text: str, message_id: str, **fields: Any) -> messaging.Command:
    send = messaging.SendMessage(
        message_id=message_id,
        recipients=messaging.Recipients(user_ids=to.split(",")),
        content=messaging.Content(text=text),
        **fields,
    )
    return messaging.Command(send_message=send)
