"""What the messaging server costs, beside a raw gRPC echo: `python -m check.parts.messaging_server [pure|grpc|idle]`.

`pure` times the parts that never await. `grpc` gives the CPU of the server's process per command (a message of 256 bytes in,
its Accepted out; the log is a list) and per event delivered, next to an echo of the same frames. `idle` gives the memory of
idle streams, one to a connection. Nothing here asserts; figures depend on the machine.
"""

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")

import grpc
import uvloop

from cell.delivery.v1 import session_link_pb2 as link
from cell.messaging.v1 import messaging_pb2 as m
from event_log.port import Fate, Settled
from messaging_core.cursor import encode_cursor, incarnation_bytes
from messaging_core.events import PositionedEvent, event_piece
from messaging_core.limits import Limits
from messaging_server.server import MessagingServer
from messaging_server.settings import ServerSettings
from session_link.in_process import in_process_link
from session_link.routed import Routed
from tests.messaging_server.memory_cell import MemoryStore, Tokens, text_message
from tests.messaging_server.memory_log import MemoryLog

STREAMS = 200
IDLE = 2_000
SECONDS = 4.0
METHOD = "/cell.messaging.v1.MessagingService/Connect"
SETTINGS = ServerSettings(
    server_id="s",
    limits=Limits(max_sends_per_second=10**6),
    max_streams_per_user=10**6,
    event_buffer_bytes=1 << 20,
)


class NullLog(MemoryLog):
    """Takes everything and keeps nothing."""

    def append(self, records: Sequence[Any], on_settled: Callable[[Sequence[Settled[Any]]], None]) -> None:
        settled = [Settled(record.tag, Fate.APPENDED, 0) for record in records]
        asyncio.get_running_loop().call_soon(on_settled, settled)


def hello() -> bytes:
    return m.ConnectRequest(commands=[m.Command(command_id=1, hello=m.Hello())]).SerializeToString()


def command(number: int, user: str) -> bytes:
    sent = text_message(f"peer-of-{user}", "x" * 256, f"m{number}")
    sent.command_id = number
    return m.ConnectRequest(commands=[sent]).SerializeToString()


def piece(offset: int) -> bytes:
    event = m.Event(message=m.Message(content=m.Content(text="x" * 256)))
    event.message.ref.message_id = f"m{offset}"
    return event_piece(encode_cursor(incarnation_bytes("log-1"), 0, offset, 1), event.SerializeToString())


async def make_server(log: MemoryLog) -> MessagingServer:
    return MessagingServer(
        log=log,
        history=MemoryStore(log),
        registry=MemoryStore(log),
        authenticator=Tokens(),
        settings=SETTINGS,
    )


class FlatOwner:
    """Owns everything, has nothing to catch up with, and sends events to all who attached."""

    def __init__(self, server: MessagingServer, log: MemoryLog) -> None:
        self.end, server_end = in_process_link()
        self.log = log
        self.tasks = [asyncio.create_task(server.serve_link(server_end)), asyncio.create_task(self._attach())]
        self.numbers: list[int] = []
        self.offset = 0
        first: dict[str, Any] = {"instance_id": "o", "log_incarnation": "log-1"}
        first["partition_count"] = log.partition_count
        messages = [link.OwnerMessage(hello=link.LinkHello(**first))]
        for partition in range(log.partition_count):
            messages.append(link.OwnerMessage(claim=link.Claim(partition=partition, generation=1)))
        self.end.send(messages)

    async def _attach(self) -> None:
        while True:
            for message in await self.end.receive():
                attach = message.attach
                if not message.HasField("attach"):
                    continue
                self.numbers.append(attach.user_number)
                reply = link.AttachReply(
                    partition=attach.partition,
                    session_number=attach.session_number,
                    attempt=attach.attempt,
                    outcome=link.ATTACH_OUTCOME_ATTACHED,
                    through_offset=self.offset - 1,
                )
                self.end.send([link.OwnerMessage(attach_reply=reply)])

    def routed(self, numbers: Sequence[int]) -> Routed:
        event = PositionedEvent(self.offset, piece(self.offset), 1, b"", "")
        self.offset += 1
        return Routed(0, event, numbers)


# The server's process.


async def echo(_: Any, context: Any) -> None:
    while (data := await context.read()) is not grpc.aio.EOF:
        await context.write(data)


class Echo(grpc.GenericRpcHandler):
    def service(self, handler_call_details: Any) -> Any:
        return grpc.stream_stream_rpc_method_handler(echo)


async def serve(kind: str) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    if kind == "echo":
        server.add_generic_rpc_handlers((Echo(),))
    else:
        log = NullLog(partition_count=1)
        cell = await make_server(log)
        cell.add_to(server)
        owner = FlatOwner(cell, log)
        if kind == "events":
            asyncio.get_running_loop().add_reader(0, push, owner)
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


def push(owner: FlatOwner) -> None:
    """For a line of standard input twenty events for everyone, each in its own message."""
    sys.stdin.readline()
    for _ in range(20):
        owner.end.send([owner.routed([number]) for number in owner.numbers])


# The client's process.


class Server:
    def __init__(self, kind: str) -> None:
        arguments = [sys.executable, "-m", "check.parts.messaging_server", "serve", kind]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_kb(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() // 1024

    def poke(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


async def connect(server: Server, user: str) -> tuple[grpc.aio.Channel, Any]:
    options = (("grpc.use_local_subchannel_pool", 1),)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options)
    call: Any = channel.stream_stream(METHOD)(metadata=(("authorization", f"Bearer {user}"),))
    await call.write(hello())
    await call.read()
    return channel, call


async def read_updates(call: Any) -> int:
    return len(m.ConnectResponse.FromString(await call.read()).updates)


async def commands(server: Server, raw: bool) -> None:
    calls = [await connect(server, f"user{n}") for n in range(STREAMS)]
    frames = [[command(n, f"user{u}") for n in range(2, 4_000)] for u in range(STREAMS)]
    count = 0
    until = time.monotonic() + SECONDS

    async def one(call: Any, mine: list[bytes]) -> None:
        nonlocal count
        for frame in mine:
            if time.monotonic() > until:
                return
            await call.write(frame)
            if raw:
                await call.read()
            else:
                while b"\x0a" not in (await call.read())[:1]:
                    pass
            count += 1

    await asyncio.sleep(0.5)
    before, start = server.cpu_s(), time.monotonic()
    await asyncio.gather(*(one(call, mine) for (_, call), mine in zip(calls, frames, strict=True)))
    wall = time.monotonic() - start
    cpu = server.cpu_s() - before
    name = "echo" if raw else "command"
    print(f"grpc {name}: {cpu / count * 1e6:.1f} us CPU, {count / wall:.0f}/s, server at {cpu / wall:.0%}")
    await asyncio.gather(*(channel.close() for channel, _ in calls))


async def events(server: Server) -> None:
    calls = [await connect(server, f"user{n}") for n in range(STREAMS)]
    await asyncio.sleep(1)
    rounds, got = 10, 0

    async def one(call: Any) -> None:
        nonlocal got
        mine = 0
        while mine < rounds * 20:
            mine += await read_updates(call)
        got += mine

    readers = asyncio.gather(*(one(call) for _, call in calls))
    before = server.cpu_s()
    for _ in range(rounds):
        server.poke()
        await asyncio.sleep(0.3)
    await readers
    print(
        f"grpc event: {(server.cpu_s() - before) / got * 1e6:.1f} us CPU each, twenty at a time, {got} delivered"
    )
    await asyncio.gather(*(channel.close() for channel, _ in calls))


async def idle(server: Server, name: str) -> None:
    held = [await connect(server, f"warm{n}") for n in range(100)]
    await asyncio.sleep(1)
    before = server.resident_kb()
    held += [await connect(server, f"user{n}") for n in range(IDLE)]
    await asyncio.sleep(2)
    print(f"idle {name}: {(server.resident_kb() - before) / IDLE:.1f} KB a stream")
    await asyncio.gather(*(channel.close() for channel, _ in held))


async def pure() -> None:
    log = NullLog(partition_count=1)
    server = await make_server(log)
    owner = FlatOwner(server, log)
    streams = server._streams
    from messaging_core.identity import Identity

    class Context:
        async def write(self, frame: bytes) -> None:
            pass

    async def opened(user: str) -> Any:
        stream: Any = streams.open(Identity(user, None), Context())  # type: ignore[arg-type]
        stream.frame(hello())
        streams.soon()
        return stream

    stream = await opened("alice")
    await asyncio.sleep(0.1)
    stream.frame(command(2, "alice"))
    await asyncio.sleep(0.1)
    for batch in (1, 16):
        frames, number = [], stream._pipeline._last_id
        for _ in range(12_800 // batch):
            parsed = m.ConnectRequest()
            for _ in range(batch):
                number += 1
                parsed.MergeFromString(command(number, "alice"))
            frames.append(parsed.SerializeToString())
        start = time.process_time()
        for index, frame in enumerate(frames):
            stream.frame(frame)
            if index % 8 == 7:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                stream.outbound.clear()
        each = (time.process_time() - start) / 12_800 * 1e6
        print(f"pure command, {batch} a frame: {each:.1f} us CPU")
    for users in (1, 1_000):
        while len(owner.numbers) < users:
            await opened(f"user{len(owner.numbers)}")
            await asyncio.sleep(0)
        await asyncio.sleep(0.5)
        numbers = owner.numbers[:users]
        messages = [owner.routed(numbers) for _ in range(20_000 // users)]
        router, source = server._router, server._router.ownership.owner(0)
        assert source
        sessions = streams.all()
        start = time.process_time()
        for message in messages:
            router.take(source, message, 0.0)
            for session in sessions[:users]:
                session.take_frame()
        each = (time.process_time() - start) / (len(messages) * users) * 1e6
        print(f"pure event to {users}: {each:.2f} us CPU each, frame joined")
    for task in owner.tasks:
        task.cancel()
    await server.close()


def main(what: Sequence[str]) -> None:
    if what[:1] == ["serve"]:
        return uvloop.run(serve(what[1]))
    if not what or "pure" in what:
        uvloop.run(pure())
    runs: list[tuple[str, str, Callable[[Server], Any]]] = [
        ("grpc", "echo", lambda server: commands(server, raw=True)),
        ("grpc", "commands", lambda server: commands(server, raw=False)),
        ("grpc", "events", events),
        ("idle", "echo", lambda server: idle(server, "echo")),
        ("idle", "commands", lambda server: idle(server, "cell")),
    ]
    for group, kind, run in runs:
        if not what or group in what:
            server = Server(kind)
            try:
                uvloop.run(run(server))
            finally:
                server.stop()
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
