"""What a message and an idle stream cost, beside what grpcio itself costs.

    .venv/bin/python -m check.cost [--seconds 8] [--clients 1000] [--under-way 1] [--rate 1] [--idle 2000] [--json FILE]

Starts the raw echo server first and the cell after it, never both at once, each in a process of its own on loopback; this
process is the clients, each with one stream on a connection of its own, in pairs that write to each other. CPU is user +
system time of the whole server process: for the cell that is everything, history included. Latency is from when a message
was due until it was shown to its recipient, so a late sender hides nothing.

Where the clients used more than 90 % of a core, or sent late, a latency tells of them and not of the server: it is marked.
Figures of one machine at one time compare only with those of the same run: look at the ratios.
"""

import argparse
import asyncio
import json
import random
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jwt
import uvloop
from rich.console import Console
from rich.table import Table

from check.load import MAX_COMMANDS, CellClient, Client, EchoClient, Tally, now_us, open_clients, schedule
from check.servers import Server, cell, echo_server

SECRET = "only for measuring, and only on this machine"
BUSY_CORES = 0.9
"""Of the clients: above, they are the limit."""
_IN_FLIGHT, _AHEAD = 250, 2_000
"""Of one user to itself: commands without an outcome, of which the cell takes 256, and messages sent and not shown yet."""
_WARM_UP_S = 2.0
_QUIET_S = 1.5
"""After which a server has nothing left to do of what was before."""
_TABLE_WIDTH = 140
_VARIABLES = {
    "CELL_JWT_SECRET": SECRET,
    "CELL_INSECURE": "true",
    "CELL_MAX_SENDS_PER_SECOND": "1000000",
    "CELL_LOG_LEVEL": "warning",
}
"""Measures the cell, not its rate limit."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure with."""

    seconds: float
    clients: int
    under_way: int
    rate: float
    idle: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One measurement: its load, and what the server spent on it."""

    per_second: float
    cpu_us: float
    """Of the server, a message."""
    server_cores: float
    client_cores: float
    p50_ms: float
    p99_ms: float
    late_p50_ms: float
    """By how much the clients sent after a message was due: part of p50_ms that is not the server's."""

    @property
    def is_client_bound(self) -> bool:
        """Whether the latency is that of the clients."""
        return self.client_cores > BUSY_CORES or self.late_p50_ms > self.p50_ms / 2


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each measurement")
    parser.add_argument("--clients", type=int, default=1000, help="clients, an even number")
    parser.add_argument("--under-way", type=int, default=1, help="messages to each client, at saturation")
    parser.add_argument(
        "--rate", type=float, default=1.0, help="messages a second of each client, at low load"
    )
    parser.add_argument("--idle", type=int, default=2000, help="idle streams to weigh; 0 = none")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    options = Options(given.seconds, given.clients, given.under_way, given.rate, given.idle)
    loads, figures = uvloop.run(measure(options))
    _show(loads, figures)
    if given.json:
        known = {
            name: asdict(load) | {"is_client_bound": load.is_client_bound} for name, load in loads.items()
        }
        given.json.write_text(json.dumps({"loads": known, "figures": figures}, indent=2) + "\n")


async def measure(options: Options) -> tuple[dict[str, Measured], dict[str, float]]:
    """Measurements under load, and figures with their unit, by name."""
    loads: dict[str, Measured] = {}
    figures: dict[str, float] = {}
    async with echo_server() as server:
        if options.idle:
            echoes = [EchoClient(Tally()) for _ in range(options.idle)]
            figures["echo_kb_per_stream"] = await _weight(server, echoes)
        async with _load(server, lambda tally: _echo_clients(options.clients, tally)) as load:
            loads["echo, saturated"] = await load.saturated(options.seconds, options.under_way)
            loads["echo, low rate"] = await load.paced(options.rate * options.clients, options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        async with cell(Path(folder), f"127.0.0.1:{_free_port()}", _VARIABLES) as server:
            if options.idle:
                figures["kb_per_stream"] = await _weight(server, _pairs(options.idle, Tally()))
            async with _load(server, lambda tally: _pairs(options.clients, tally)) as load:
                figures["cores_without_messages"] = await load.quiet(options.seconds)
                saturated = loads["1-on-1, saturated"] = await load.saturated(
                    options.seconds, options.under_way
                )
                single = loads["1-on-1, saturated, a frame each"] = await load.saturated(
                    options.seconds, options.under_way, commands_a_frame=1
                )
                loads["1-on-1, half of a frame each"] = await load.paced(
                    single.per_second / 2, options.seconds
                )
                loads["1-on-1, low rate"] = await load.paced(options.rate * options.clients, options.seconds)
            async with _load(server, lambda tally: [_user("hermit", "hermit", tally)]) as load:
                loads["one user to itself"] = await load.streaming(options.seconds)
    figures["message_over_echo"] = saturated.cpu_us / loads["echo, saturated"].cpu_us
    if options.idle:
        figures["stream_over_echo"] = figures["kb_per_stream"] / figures["echo_kb_per_stream"]
    return loads, figures


class _Load:
    """Clients with live streams on a server, and what they make it do."""

    def __init__(self, server: Server, clients: Sequence[Client], tally: Tally) -> None:
        self._server = server
        self._clients = clients
        self._tally = tally

    async def quiet(self, seconds: float) -> float:
        """Cores that the server uses while nobody sends."""
        await asyncio.sleep(_QUIET_S)
        before = self._server.usage()
        await asyncio.sleep(seconds)
        return (self._server.usage().cpu_us - before.cpu_us) / 1e6 / seconds

    async def saturated(
        self, seconds: float, under_way: int, commands_a_frame: int = MAX_COMMANDS
    ) -> Measured:
        """Each client sends its next message when one has been shown to it, so `under_way` are on their way to each.

        What is shown together is answered together, in one frame: the busier the server, the fewer its frames. Messages that
        come by themselves, as `paced` ones do, have a frame each: compare those with `commands_a_frame` of 1.
        """
        for client in self._clients:
            if isinstance(client, CellClient):
                client.commands_a_frame = commands_a_frame
            client.on_delivered = lambda client=client: client.send(now_us())  # type: ignore[misc]
            for _ in range(under_way):
                client.send(now_us())
        measured = await self._measured(seconds)
        for client in self._clients:
            client.on_delivered = lambda: None
        await self._settled()
        return measured

    async def streaming(self, seconds: float) -> Measured:
        """One user sends as many as may be in flight, and not too far ahead of what it is shown."""
        (client,) = self._clients
        assert isinstance(client, CellClient)
        tally = self._tally

        def top_up() -> None:
            while client.in_flight < _IN_FLIGHT and tally.sent - tally.delivered < _AHEAD:
                client.send(now_us())

        client.on_accepted = client.on_delivered = top_up
        top_up()
        measured = await self._measured(seconds)
        client.on_accepted = client.on_delivered = lambda: None
        await self._settled()
        return measured

    async def paced(self, per_second: float, seconds: float) -> Measured:
        """So many messages a second, each due at a time of its own: what is sent late counts from when it was due."""
        pacing = asyncio.create_task(self._pace(per_second))
        measured = await self._measured(seconds)
        pacing.cancel()
        await asyncio.wait((pacing,))
        await self._settled()
        return measured

    async def _pace(self, per_second: float) -> None:
        phases = [random.random() for _ in self._clients]
        start = time.monotonic()
        for which, at_s in schedule(len(self._clients), per_second, phases):
            due = start + at_s
            if (wait_s := due - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            self._clients[which].send(int(due * 1e6))

    async def _measured(self, seconds: float) -> Measured:
        server, tally = self._server, self._tally
        await asyncio.sleep(_WARM_UP_S)
        tally.clear_times()
        usage, client_s, delivered, started = (
            server.usage(),
            time.process_time(),
            tally.delivered,
            time.monotonic(),
        )
        await asyncio.sleep(seconds)
        took_s = time.monotonic() - started
        count = tally.delivered - delivered
        cpu_us = server.usage().cpu_us - usage.cpu_us
        client_s = time.process_time() - client_s
        if tally.ended or tally.rejected or count < 2:
            raise RuntimeError(
                f"{count} delivered, {tally.rejected} rejected, streams ended: {tally.ended[:3]}"
            )
        cuts = statistics.quantiles(tally.latency_us, n=100)
        return Measured(
            per_second=count / took_s,
            cpu_us=cpu_us / count,
            server_cores=cpu_us / 1e6 / took_s,
            client_cores=client_s / took_s,
            p50_ms=cuts[49] / 1e3,
            p99_ms=cuts[98] / 1e3,
            late_p50_ms=statistics.median(tally.late_us) / 1e3,
        )

    async def _settled(self) -> None:
        """Wait until everything sent was delivered, and the server is done with it."""
        tally = self._tally
        for _ in range(600):
            if tally.delivered >= tally.sent:
                return await asyncio.sleep(_QUIET_S)
            await asyncio.sleep(0.1)
        raise RuntimeError(f"lost: {tally.sent} sent, {tally.delivered} delivered, {tally.rejected} rejected")


@asynccontextmanager
async def _load(server: Server, make: Callable[[Tally], Sequence[Client]]) -> AsyncIterator[_Load]:
    tally = Tally()
    clients = make(tally)
    close = await open_clients(server.address, clients)
    try:
        yield _Load(server, clients, tally)
    finally:
        await close()


async def _weight(server: Server, clients: Sequence[Client]) -> float:
    """KB of memory for each of these streams, on a server that has held none before."""
    before = server.usage().rss_kb
    close = await open_clients(server.address, clients)
    await asyncio.sleep(_QUIET_S)
    used_kb = server.usage().rss_kb - before
    await close()
    await asyncio.sleep(_QUIET_S)
    return used_kb / len(clients)


def _echo_clients(count: int, tally: Tally) -> Sequence[Client]:
    return [EchoClient(tally) for _ in range(count)]


def _pairs(count: int, tally: Tally) -> Sequence[Client]:
    """Users who write to each other, two and two."""
    return [_user(f"user-{i}", f"user-{i ^ 1}", tally) for i in range(count)]


def _user(user: str, peer: str, tally: Tally) -> Client:
    claims: dict[str, Any] = {"sub": user, "exp": int(time.time()) + 86_400}
    return CellClient(user, peer, jwt.encode(claims, SECRET, algorithm="HS256"), tally)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _show(loads: dict[str, Measured], figures: dict[str, float]) -> None:
    console = Console(width=_TABLE_WIDTH)
    columns = (
        "a second",
        "CPU µs each",
        "server cores",
        "p50 ms",
        "p99 ms",
        "sent late p50 ms",
        "client cores",
    )
    table = Table("load", *columns)
    for name, load in loads.items():
        mark = " (clients)" if load.is_client_bound else ""
        table.add_row(
            name,
            f"{load.per_second:,.0f}",
            f"{load.cpu_us:,.1f}",
            f"{load.server_cores:.2f}",
            f"{load.p50_ms:,.2f}{mark}",
            f"{load.p99_ms:,.2f}{mark}",
            f"{load.late_p50_ms:,.2f}",
            f"{load.client_cores:.2f}",
        )
    console.print(table)
    for name, value in figures.items():
        console.print(f"{name}: {value:,.3g}")


if __name__ == "__main__":
    main()
