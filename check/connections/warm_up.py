"""A little of everything before anything is measured: engines, connections between processes and caches begin cold."""

import asyncio
import ssl

from check.cells import token
from check.connections.targets import ECHO, Target
from check.load import CellClient, Client, EchoClient, Tally, now_us, open_clients

_CLIENTS, _ROUNDS, _PAUSE_S = 64, 12, 0.1
_PATIENCE_S = 120.0
"""Until the first messages have come: an engine that has just started may take its time."""


async def warm_up(target: Target) -> None:
    """Let some clients, who are gone afterwards, send through all partitions. Raises RuntimeError where nothing comes."""
    tls = _tls(target)
    for address in target.addresses:
        tally = Tally()
        clients = [_client(target.kind, number, tally) for number in range(_CLIENTS)]
        close = await open_clients(address, clients, tls)
        for _ in range(_ROUNDS):
            for client in clients:
                client.send(now_us())
            await asyncio.sleep(_PAUSE_S)
        await _all_come(tally)
        await close()


async def _all_come(tally: Tally) -> None:
    for _ in range(int(_PATIENCE_S / _PAUSE_S)):
        if tally.delivered + tally.rejected >= tally.sent:
            return
        await asyncio.sleep(_PAUSE_S)
    raise RuntimeError(f"of {tally.sent} first messages {tally.delivered} came")


def _tls(target: Target) -> ssl.SSLContext | None:
    if target.authorities is None:
        return None
    made = ssl.create_default_context(cafile=str(target.authorities))
    made.set_alpn_protocols(["h2"])
    return made


def _client(kind: str, number: int, tally: Tally) -> Client:
    if kind == ECHO:
        return EchoClient(tally)
    user, peer = f"warm-{number}", f"warm-{number ^ 1}"
    return CellClient(user, peer, token(user), tally)
