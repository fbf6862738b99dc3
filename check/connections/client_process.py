"""A process of thousands of clients, which the coordinator drives in lines of JSON.

It reads what it is (`Spec`), then "connect", "send" with the time to begin at, "finish". It says twice a second what was
counted, writes its clients' ledgers where it was told to, and ends when its input does, whoever closed that.
"""

import asyncio
import errno
import itertools
import json
import os
import pickle
import random
import signal
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from check.alarm import Alarm
from check.cells import token
from check.connections.client import CellClient, Client, EchoClient, Tally
from check.connections.ledger import ClientLedger
from check.connections.phase import Phase
from check.connections.recipients import Shape
from check.histogram import Histogram
from check.load import now_us, schedule
from messaging_cell import runtime
from messaging_client.backoff import Backoff

REPORT_EVERY_S = 0.5
_IP_BIND_ADDRESS_NO_PORT = 24
"""ip(7): the port is chosen when it connects, so that it must be free towards that server only."""
_BACKOFF_S, _MAX_BACKOFF_S = 1.0, 30.0
"""Of messaging_client/settings.py."""
_SENT_AT_ONCE = 200
"""Before answers are looked at again, where this process is behind."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What one process does."""

    kind: str
    """`cell` or `echo`."""
    addresses: list[str]
    """`host:port` of servers, taken in turn."""
    sources: list[str]
    """Loopback addresses to connect from, taken in turn."""
    first: int
    count: int
    clients: int
    """Of all processes."""
    seed: int
    opening: int
    """Clients that connect at a time."""
    open_timeout_s: float
    comes_back: bool
    """Whether a client whose stream ends connects again, from where it was."""
    verify_every: int
    """Of so many clients one looks into what comes, the others count it."""
    authorities: str | None
    """PEM file; without one there is no TLS."""
    ledger_file: str


def user_id(number: int) -> str:
    """The user of a client."""
    return f"user-{number:06}"


class ClientProcess:
    """Clients and what they do, step by step."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        # From the first cursor on, or else those who come back would miss what came while they were away.
        self._tally = Tally(on_lost=self._lost if spec.comes_back else None)
        self._users = [user_id(number) for number in range(spec.clients)]
        self._clients: list[Client] = []
        """Those that are live."""
        self._failed: Counter[str] = Counter()
        self._connecting = Histogram()
        """Microseconds from a client's first packet until it was live."""
        self._tls = ssl.create_default_context(cafile=spec.authorities) if spec.authorities else None
        if self._tls:
            self._tls.set_alpn_protocols(["h2"])
        self._returning = Histogram()
        """Microseconds from the end of a client's stream until it was live again."""
        self._chance = random.Random(f"{spec.seed} {spec.first}")
        self._returns: set[asyncio.Task[None]] = set()
        self._shape: Shape | None = None
        self._turns: Iterator[tuple[Client, int, int]] = iter(())
        self._next: tuple[Client, int, int] | None = None
        self._alarm = Alarm(self._send_due)

    async def connect(self) -> None:
        """Connect them all, so many at a time; one that fails is counted and left out."""
        numbers = iter(range(self._spec.first, self._spec.first + self._spec.count))
        await asyncio.gather(*(self._open_each(numbers) for _ in range(self._spec.opening)))
        runtime.settle_memory()

    def send(self, start_us: int, phase: Phase) -> None:
        """Begin to send at this time: each client at its own part of every interval."""
        spec = self._spec
        clients = self._clients
        self._shape = phase.shape(spec.clients, spec.seed)
        self._tally.to_itself = phase.is_to_itself
        chance = random.Random(f"{spec.seed} {spec.first}")
        phases = [chance.random() for _ in clients]
        # Rounds of all clients, in order of time.
        turns = schedule(len(clients), len(clients) * phase.rate, phases) if clients else iter(())
        self._turns = (
            (clients[which], phase.first + at // len(clients), start_us + int(at_s * 1e6))
            for at, (which, at_s) in enumerate(itertools.islice(turns, len(clients) * phase.messages))
        )
        self._go_on(next(self._turns, None))

    def finish(self) -> None:
        """Write the ledgers down and close the connections."""
        ledgers = [
            ClientLedger(
                client.number,
                client.whole and client.number % self._spec.verify_every == 0,
                client.sent.whole(),
                client.accepted.whole(),
                client.refused.whole(),
                client.received.by_sender(),
            )
            for client in self._clients
        ]
        self._tally.on_lost = None
        for task in self._returns:
            task.cancel()
        with open(self._spec.ledger_file, "wb") as file:
            pickle.dump(ledgers, file)
        for client in self._clients:
            client.stream.close()

    def report(self) -> dict[str, Any]:
        """What was counted so far; of times what came since the last report."""
        tally = self._tally
        said = {
            "connected": len(self._clients),
            "failed": self._failed,
            "sent": tally.sent,
            "last_us": tally.last_us,
            "accepted": tally.accepted,
            "rejected": tally.rejected,
            "delivered": tally.delivered,
            "own": tally.own,
            "doubled": tally.doubled,
            "out_of_order": tally.out_of_order,
            "ended": tally.ended,
            "returned": tally.returned,
            "times": {
                "connect": _told(self._connecting),
                "return": _told(self._returning),
                "late": _told(tally.late),
                "accept": _told(tally.accept),
                "latency": _told(tally.latency),
            },
        }
        self._connecting, self._returning = Histogram(), Histogram()
        tally.late, tally.accept, tally.latency = Histogram(), Histogram(), Histogram()
        return said

    async def _open_each(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            try:
                async with asyncio.timeout(self._spec.open_timeout_s):
                    await self._open(number)
            except TimeoutError:
                self._failed["not live in time"] += 1
            except OSError as error:
                self._failed[error.strerror or str(error)] += 1
            except Exception as error:  # one client that fails in a way not thought of ends no run
                self._failed[repr(error)] += 1

    async def _open(self, number: int) -> None:
        client = self._client(number)
        started_us = now_us()
        await self._until_live(client)
        self._connecting.add(now_us() - started_us)
        self._clients.append(client)

    async def _until_live(self, client: Client) -> None:
        try:
            await self._connect(client, client.number)
            client.hello()
            assert client.live is not None
            await client.live
        except BaseException:
            client.stream.abort()
            raise
        client.live = None

    def _lost(self, client: Client) -> None:
        task = asyncio.get_running_loop().create_task(self._come_back(client))
        self._returns.add(task)
        task.add_done_callback(self._returns.discard)

    async def _come_back(self, client: Client) -> None:
        """Try until it is live again, with the pauses that the SDK makes."""
        lost_us = now_us()
        backoff = Backoff(_BACKOFF_S, _MAX_BACKOFF_S, self._chance)
        while not client.is_there:
            await asyncio.sleep(backoff.failed())
            client.open()
            with suppress(Exception):  # however it failed, it is tried again
                async with asyncio.timeout(self._spec.open_timeout_s):
                    await self._until_live(client)
                client.is_there = True
        self._tally.returned += 1
        self._returning.add(now_us() - lost_us)

    def _client(self, number: int) -> Client:
        if self._spec.kind == "echo":
            return EchoClient(number, self._tally)
        verifies = number % self._spec.verify_every == 0
        return CellClient(number, self._tally, token(self._users[number]), verifies=verifies)

    async def _connect(self, client: Client, number: int) -> None:
        spec, loop = self._spec, asyncio.get_running_loop()
        host, _, port = spec.addresses[number % len(spec.addresses)].rpartition(":")
        opened = socket.socket()
        try:
            opened.setblocking(False)
            opened.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.bind((spec.sources[number % len(spec.sources)], 0))
            # The transport waits for the connection. uvloop's sock_connect cannot always be cancelled where descriptors come
            # and go: a client whose time to connect was over stood still for good.
            if (code := opened.connect_ex((host, int(port)))) not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
        except BaseException:
            opened.close()
            raise
        await loop.create_connection(
            lambda: client.stream, sock=opened, ssl=self._tls, server_hostname=host if self._tls else None
        )

    def _go_on(self, turn: tuple[Client, int, int] | None) -> None:
        self._next = turn
        if turn is None:
            _say({"done": "send"})
        else:
            self._alarm.set(turn[2])

    def _send_due(self) -> None:
        """Send what is due; and what will be, later."""
        turn = self._next
        for _ in range(_SENT_AT_ONCE):
            if turn is None or turn[2] > now_us():
                break
            client, number, due_us = turn
            assert self._shape is not None
            if client.is_there:
                recipients = [self._users[who] for who in self._shape.of(client.number, number)]
                client.send(number, due_us, recipients)
            turn = next(self._turns, None)
            if turn is None or turn[0] is not client:
                client.flush()
        if turn is not None:
            turn[0].flush()
        self._go_on(turn)


def _told(histogram: Histogram) -> tuple[dict[int, int], int]:
    return histogram.counts, histogram.largest


async def _main() -> None:
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    process = ClientProcess(Spec(**json.loads(await reader.readline())))
    reporting = asyncio.create_task(_report(process))
    connecting: asyncio.Task[None] | None = None
    while line := await reader.readline():
        command, *arguments = json.loads(line)
        if command == "connect":
            connecting = asyncio.create_task(process.connect())
            connecting.add_done_callback(lambda _: _say({"done": "connect"}))
        elif command == "send":
            process.send(arguments[0], Phase(**arguments[1]))
        elif command == "finish":
            reporting.cancel()
            _say(process.report())
            process.finish()
            _say({"done": "finish"})
    for task in (reporting, connecting):
        if task:
            task.cancel()


async def _report(process: ClientProcess) -> None:
    while True:
        await asyncio.sleep(REPORT_EVERY_S)
        _say(process.report())


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def spec_line(spec: Spec) -> str:
    """What is written to such a process first."""
    return json.dumps(asdict(spec))


def command(words: Sequence[object]) -> str:
    """A line with one command and its arguments."""
    return json.dumps(words)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator is asked, and asks in turn
    runtime.raise_file_limit()
    uvloop.run(_main())
