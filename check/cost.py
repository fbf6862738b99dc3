"""What a message and an idle stream cost, beside what grpcio itself costs.

    .venv/bin/python -m check.cost [--seconds 8] [--pairs 100] [--idle 2000] [--json FILE]

Starts the raw echo server first and the cell after it, never both at once, each in a process of its own on loopback; this
process is the clients. CPU is user + system time of the whole server process: for the cell that is everything, history
included. Figures of one machine at one time compare only with those of the same run: look at the ratios.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")

import grpc
import jwt
import uvloop
from rich.console import Console
from rich.table import Table

from check.load import Client, Tally, open_clients
from check.servers import Server, cell, echo_server

ECHO_METHOD = "/check.Echo/Stream"
ECHO_FRAME = b"x" * 256
SECRET = "only for measuring, and only on this machine"
IDLE_BATCH = 200
Figures = dict[str, float]
_VARIABLES = {"CELL_JWT_SECRET": SECRET, "CELL_MAX_SENDS_PER_SECOND": "1000000", "CELL_LOG_LEVEL": "warning"}
"""Measures the cell, not its rate limit."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each measurement")
    parser.add_argument("--pairs", type=int, default=100, help="pairs of users who write to each other")
    parser.add_argument(
        "--idle", type=int, default=2000, help="idle streams, each on a connection of its own"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures = uvloop.run(measure(options.seconds, options.pairs, options.idle))
    _show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


async def measure(seconds: float, pairs: int, idle: int) -> Figures:
    """All figures, by name with their unit."""
    figures: Figures = {}
    async with echo_server() as server:
        figures["echo_cpu_us"] = await _echo(server, 2 * pairs, seconds)
        figures["echo_kb_per_stream"] = await _idle_echo(server, idle)
    with tempfile.TemporaryDirectory() as folder:
        async with cell(Path(folder), f"127.0.0.1:{_free_port()}", _VARIABLES) as server:
            figures |= await _pairs(server, pairs, seconds)
            figures |= await _to_itself(server, seconds)
            figures["kb_per_stream"] = await _idle_cell(server, idle)
    figures["message_over_echo"] = figures["message_cpu_us"] / figures["echo_cpu_us"]
    figures["stream_over_echo"] = figures["kb_per_stream"] / figures["echo_kb_per_stream"]
    return figures


async def _echo(server: Server, streams: int, seconds: float) -> float:
    """CPU of the raw server for one frame in and out, each stream sending the next when the last has come back."""
    count = 0

    async def run(channel: grpc.aio.Channel) -> None:
        nonlocal count
        call: Any = channel.stream_stream(ECHO_METHOD)()
        while True:
            await call.write(ECHO_FRAME)
            await call.read()
            count += 1

    channels = [
        grpc.aio.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(streams)
    ]
    tasks = [asyncio.create_task(run(channel)) for channel in channels]
    await asyncio.sleep(1)
    before, start = server.usage(), count
    await asyncio.sleep(seconds)
    cost = (server.usage().cpu_us - before.cpu_us) / (count - start)
    await _cancel(tasks)
    for channel in channels:
        await channel.close()
    return cost


async def _pairs(server: Server, pairs: int, seconds: float) -> Figures:
    """Pairs of users at saturation, then at half of that rate, then at one message a second each."""
    users = [f"user-{i}" for i in range(2 * pairs)]
    peer = {user: users[i ^ 1] for i, user in enumerate(users)}
    tally = Tally()
    clients, close = await open_clients(server.address, users, _token, tally, channels=len(users))
    tasks = [
        asyncio.create_task(work) for client in clients for work in (client.run_reader(), client.run_writer())
    ]
    by_user = {client.user: client for client in clients}

    def answer(client: Client) -> Callable[[], None]:
        return lambda: client.send(peer[client.user])

    for client in clients:
        client.on_delivered = answer(client)
        for _ in range(4):
            client.send(peer[client.user])
    await asyncio.sleep(2)
    saturated = await _measured(server, tally, seconds)
    for client in clients:
        client.on_delivered = lambda: None
    await _settled(tally)
    half = await _paced(server, tally, by_user, peer, saturated["rate"] / 2, seconds)
    idle = await _paced(server, tally, by_user, peer, float(len(users)), seconds)
    await _cancel(tasks)
    await close()
    return {
        "message_cpu_us": saturated["cpu_us"],
        "messages_per_second": saturated["rate"],
        "message_cpu_us_at_half": half["cpu_us"],
        "deliver_p50_ms_at_half": half["p50_ms"],
        "deliver_p99_ms_at_half": half["p99_ms"],
        "deliver_p50_ms_at_1_per_client": idle["p50_ms"],
        "deliver_p99_ms_at_1_per_client": idle["p99_ms"],
        "message_cpu_us_at_1_per_client": idle["cpu_us"],
        "rejected": float(tally.rejected),
    }


async def _paced(
    server: Server,
    tally: Tally,
    clients: dict[str, Client],
    peer: dict[str, str],
    rate: float,
    seconds: float,
) -> Figures:
    """Messages at a fixed rate, each due at a time of its own: a late sender counts against the figure."""

    async def pace() -> None:
        users = list(clients)
        start, number = time.monotonic(), 0
        while True:
            number += 1
            due = start + number / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            user = users[number * 7 % len(users)]
            clients[user].send(peer[user], due)

    task = asyncio.create_task(pace())
    await asyncio.sleep(1)
    figures = await _measured(server, tally, seconds)
    await _cancel([task])
    await _settled(tally)
    return figures


async def _to_itself(server: Server, seconds: float) -> Figures:
    """One user to itself over one stream, a bounded number of messages under way."""
    tally = Tally()
    [client], close = await open_clients(server.address, ["hermit"], _token, tally, channels=1)
    client.to_itself = True
    client.on_delivered = lambda: client.send("hermit")
    tasks = [asyncio.create_task(client.run_reader()), asyncio.create_task(client.run_writer())]
    for _ in range(200):
        client.send("hermit")
    await asyncio.sleep(1)
    figures = await _measured(server, tally, seconds)
    await _cancel(tasks)
    await close()
    return {"to_itself_per_second": figures["rate"], "to_itself_cpu_us": figures["cpu_us"]}


async def _measured(server: Server, tally: Tally, seconds: float) -> Figures:
    before, delivered, started = server.usage(), tally.delivered, time.monotonic()
    tally.deliver_us.clear()
    tally.accept_us.clear()
    await asyncio.sleep(seconds)
    count = tally.delivered - delivered
    took = time.monotonic() - started
    if not count:
        raise RuntimeError(f"nothing was delivered: {tally.rejected} rejected")
    cuts = statistics.quantiles(tally.deliver_us, n=100)
    cpu = (server.usage().cpu_us - before.cpu_us) / count
    return {"cpu_us": cpu, "rate": count / took, "p50_ms": cuts[49] / 1e3, "p99_ms": cuts[98] / 1e3}


async def _settled(tally: Tally) -> None:
    """Wait until everything sent was delivered."""
    for _ in range(600):
        if tally.delivered + tally.rejected >= tally.sent:
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"lost: {tally.sent} sent, {tally.delivered} delivered, {tally.rejected} rejected")


async def _idle_echo(server: Server, streams: int) -> float:
    """Memory of an open stream, on a connection of its own, after one frame."""
    before = server.usage().rss_kb
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(server.address, options=options) for _ in range(streams)]
    calls: list[Any] = [channel.stream_stream(ECHO_METHOD)() for channel in channels]
    for start in range(0, streams, IDLE_BATCH):
        await asyncio.gather(*(_once(call) for call in calls[start : start + IDLE_BATCH]))
    used = server.usage().rss_kb - before
    for channel in channels:
        await channel.close()
    return used / streams


async def _once(call: Any) -> None:
    await call.write(ECHO_FRAME)
    await call.read()


async def _idle_cell(server: Server, streams: int) -> float:
    before = server.usage().rss_kb
    users = [f"idle-{i}" for i in range(streams)]
    _, close = await open_clients(server.address, users, _token, Tally(), channels=streams)
    await asyncio.sleep(1)
    used = server.usage().rss_kb - before
    await close()
    return used / streams


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, grpc.RpcError):
            await task


def _token(user: str) -> str:
    return jwt.encode({"sub": user, "exp": int(time.time()) + 86_400}, SECRET, algorithm="HS256")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _show(figures: Figures) -> None:
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
