"""A client's stream on a server, and what the contract says must become of it."""

import asyncio
from collections import Counter
from typing import Any, cast

import grpc
from google.protobuf.message import DecodeError

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.cursor import decode_cursor
from messaging_server.session import Session
from tests.fuzz.cell import LIMITS, OUTCOME_BYTES, SETTINGS, Call, Cell, moment, running_cell
from tests.fuzz.commands import LAST_ID, Client
from tests.fuzz.strategies import extended

STREAM_ENDS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
}
"""docs/errors.md."""
BY_HELLO = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE)


class Stream:
    """Ann's stream, and what the contract says of it so far."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.call = Call().connect(cell)
        self.client = Client()
        self.opened = False
        self.may_end: set[grpc.StatusCode] = set()
        """With these, for what was sent."""
        self.must_end = False
        self.expected: Counter[int] = Counter()
        """How many outcomes each command id is to get."""
        self.sent: list[messaging.Command] = []
        self._last_id = 0

    def send(self, data: bytes) -> None:
        """A frame, and what must become of it."""
        self.call.send(data)
        if self.must_end:
            return
        try:
            commands = list(messaging.ConnectRequest.FromString(data).commands)
        except DecodeError:
            commands = []
        if len(data) > LIMITS.max_frame_bytes or not 1 <= len(commands) <= LIMITS.max_commands_per_frame:
            return self._ends(grpc.StatusCode.INVALID_ARGUMENT)
        for command in commands:
            if not self.must_end:
                self._take(command)
        return None

    def _take(self, command: messaging.Command) -> None:
        if command.WhichOneof("command") == "hello" and not self.opened:
            self.opened = True
            self._last_id = command.command_id
            if not command.command_id:
                self._ends(grpc.StatusCode.INVALID_ARGUMENT)
            elif command.hello not in (messaging.Hello(), messaging.Hello(live_only=True)):
                self.may_end.update(BY_HELLO)
        elif command.WhichOneof("command") == "hello" or not self.opened:
            self._ends(grpc.StatusCode.FAILED_PRECONDITION)
        else:
            self.sent.append(command)
            self.expected[command.command_id] += 1
            if command.refresh_token.token.startswith("ann:"):
                self.may_end.add(grpc.StatusCode.UNAUTHENTICATED)

    def _ends(self, status: grpc.StatusCode) -> None:
        self.must_end = True
        self.may_end.add(status)

    def open(self, hello: messaging.Hello | None) -> None:
        if hello is not None:
            command = messaging.Command(command_id=1, hello=hello)
            self.client.last_id = 1
            self.send(messaging.ConnectRequest(commands=[command]).SerializeToString())

    async def step(self, name: str, how: Any) -> None:
        cell, call = self.cell, self.call
        match name:
            case "commands":
                self.send(self.client.frame(how))
            case "extended":
                commands, extra, where = how
                self.send(extended(self.client.request(commands), extra, where))
            case "raw":
                commands, replaced, cut = how
                data = self.client.frame(commands)
                self.send(replaced if replaced is not None else data[:-1] if cut else data + b"\x0b")
            case "wait":
                await moment(how)
                if not self.opened and how > LIMITS.hello_timeout_s / 2:
                    self.may_end.add(grpc.StatusCode.DEADLINE_EXCEEDED)
                if call.stalled is not None:
                    self.may_end.add(grpc.StatusCode.RESOURCE_EXHAUSTED)
            case "log":
                cell.log.held, cell.log.full = how == "held", how == "full"
                cell.log.let_go()
            case "fates":
                cell.fates += how
            case "store":
                cell.store.away = how
            case "stall":
                self._stall(how)
        await moment()
        self.check()

    def _stall(self, stalls: bool) -> None:
        if self.call.stalled is not None:
            self.call.stalled.set()
        self.call.stalled = asyncio.Event() if stalls else None

    def check(self) -> None:
        """What holds at any time: nothing fails but by name, buffers are bounded, no outcome comes twice."""
        call, server = self.call, self.cell.server
        assert call.failure() is None, call.failure()
        if call.status is not None:
            assert call.status in STREAM_ENDS
            assert call.status in self.may_end | {grpc.StatusCode.OK}, (call.status, call.detail)
        assert all(
            update.ByteSize() <= OUTCOME_BYTES for update in call.updates() if update.HasField("rejected")
        )
        told = call.outcomes()
        assert all(told[id_] <= self.expected[id_] for id_ in told), (told, self.expected)
        for session in server.streams_of("ann"):
            outbound = session.outbound
            assert (
                outbound.outcome_bytes
                <= SETTINGS.outcome_buffer_bytes
                + (LIMITS.max_commands_per_frame + LIMITS.max_in_flight) * OUTCOME_BYTES
            )
            assert outbound.event_bytes <= 2 * SETTINGS.event_buffer_bytes + 2_000
            assert session._pipeline.count <= LIMITS.max_in_flight  # type: ignore[attr-defined]
        assert 0 <= server._desk.held_bytes <= SETTINGS.held_bytes


async def follow(steps: list[tuple[str, Any]], hello: messaging.Hello | None, ends: str) -> None:
    async with running_cell() as cell:
        watcher = Stream(cell)
        watcher.call = Call("bob").connect(cell)
        watcher.open(messaging.Hello())
        stream = Stream(cell)
        stream.open(hello)
        await moment()
        stream.check()
        for name, how in steps:
            await stream.step(name, how)
        # Faults are over.
        stream._stall(False)
        cell.log.held = cell.log.full = cell.store.away = False
        cell.log.let_go()
        if ends == "cancel":
            await stream.call.cancel()
        elif ends == "half-close":
            stream.call.half_close()
            if not stream.opened:
                stream._ends(grpc.StatusCode.FAILED_PRECONDITION)
        elif ends == "leave":
            stream.may_end.add(grpc.StatusCode.UNAVAILABLE)
            for session in cell.server.streams_of("ann"):
                cast(Session, session).leave(0.0, 0.5)
        await moment(20.0)
        if ends != "cancel":
            if not stream.opened:
                stream.may_end.add(grpc.StatusCode.DEADLINE_EXCEEDED)
            stream.check()
            await judge_end(stream, ends)
        judge_log(cell, stream)
        await moment(2.0)
        judge_watcher(cell, watcher.call)
        assert cell.server._desk.held_bytes == 0


async def judge_end(stream: Stream, ends: str) -> None:
    """The stream has ended as it must, or it lives: then each command has its one outcome and the next is served."""
    call = stream.call
    if not stream.opened and not stream.must_end:
        assert call.status in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
        return
    if stream.must_end:
        assert call.status is not None
        assert call.status is not grpc.StatusCode.OK
        return
    if call.status not in (None, grpc.StatusCode.OK):
        return
    assert call.outcomes() == stream.expected
    if ends != "live":
        assert call.is_over
        return
    assert call.status is None
    next_id = max([1, *(command.command_id for command in stream.sent)]) + 1
    if next_id > LAST_ID:
        return
    send = messaging.SendMessage(message_id="last", content=messaging.Content(text="last"))
    send.recipients.user_ids.append("bob")
    last = [messaging.Command(command_id=next_id, ping=messaging.Ping())]
    last.append(messaging.Command(command_id=next_id + 1, send_message=send))
    for command in last[: 1 + (next_id < LAST_ID)]:
        stream.send(messaging.ConnectRequest(commands=[command]).SerializeToString())
    stream.cell.fates.clear()
    await moment(2.0)
    kinds = {
        getattr(u, u.WhichOneof("update")).command_id: u.WhichOneof("update")
        for u in call.updates()
        if u.WhichOneof("update") in ("accepted", "pong")
    }
    assert kinds.get(next_id) == "pong"
    assert next_id == LAST_ID or kinds.get(next_id + 1) == "accepted"


def judge_log(cell: Cell, stream: Stream) -> None:
    """An accepted message is there once, as it was sent; a refused one is not there; nothing is there that nobody sent."""
    by_id: dict[str, list[messaging.SendMessage]] = {}
    for command in stream.sent:
        if command.HasField("send_message"):
            by_id.setdefault(command.send_message.message_id, []).append(command.send_message)
    there = Counter(reading.origin.command_id for reading in cell.effective() if reading.origin)
    assert set(there.values()) <= {1}
    for reading in cell.effective():
        assert reading.origin is not None
        assert reading.event is not None
        assert any(send.content == reading.event.message.content for send in by_id[reading.origin.command_id])
    fate: dict[str, set[str]] = {}
    commands = {command.command_id: command for command in stream.sent}
    repeated = {id_ for id_, count in stream.expected.items() if count > 1}
    for update in stream.call.updates():
        if update.HasField("accepted") and update.accepted.command_id in commands:
            command = commands[update.accepted.command_id]
            if command.HasField("send_message") and command.command_id not in repeated:
                fate.setdefault(command.send_message.message_id, set()).add("accepted")
        elif update.HasField("rejected") and update.rejected.command_id in commands:
            command = commands[update.rejected.command_id]
            if command.HasField("send_message"):
                unknown = update.rejected.outcome != messaging.REJECTED_OUTCOME_NOT_DONE
                fate.setdefault(command.send_message.message_id, set()).add(
                    "unknown" if unknown else "refused"
                )
    for message_id, outcomes in fate.items():
        if "accepted" in outcomes:
            assert there[message_id] == 1
        elif outcomes == {"refused"} and len(by_id[message_id]) == 1:
            assert there[message_id] == 0


def judge_watcher(cell: Cell, call: Call) -> None:
    """Whoever is told of the messages can read them, and gets each once, in order."""
    assert call.status is None, (call.status, call.detail)
    events = [update.event for update in call.updates() if update.HasField("event")]
    offsets = [decode_cursor(event.cursor).offset for event in events]
    assert offsets == sorted(set(offsets))
    told = [event.message for event in events if event.HasField("message")]
    origins = [reading.origin for reading in cell.readings() if reading.origin]
    named = [
        messaging.Event.FromString(origin.logged.event).message  # retries, too: the owner here tells all
        for origin in origins
        if origin.logged.kind == 1 and "bob" in origin.participant_ids
    ]
    assert sorted(map(repr, told)) == sorted(map(repr, named))
