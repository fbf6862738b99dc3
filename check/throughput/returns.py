"""What streams that come back are served from, as the servers' own figures tell: the window, or history (R8, R10)."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.request import urlopen

_TIMEOUT_S = 10.0
_SERIES = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)")
_OUTCOME = re.compile(r'cell_outcome="(\w+)"')
_ATTACHES, _PAGES = "cell_attaches_total", "cell_catch_up_page_duration_seconds_count"


@dataclass(frozen=True, slots=True)
class Served:
    """Counts of a server."""

    window: int = 0
    """Attaches that the owner of a partition answered from its window."""
    behind: int = 0
    """Attaches that it sent to history."""
    pages: int = 0
    """Pages of history that were read for streams: what the store was asked for them."""

    def __add__(self, other: "Served") -> "Served":
        return Served(self.window + other.window, self.behind + other.behind, self.pages + other.pages)

    def __sub__(self, other: "Served") -> "Served":
        return Served(self.window - other.window, self.behind - other.behind, self.pages - other.pages)


def read(text: str) -> Served:
    """The counts in figures as Prometheus fetches them. What has not happened yet is not among them."""
    served = Served()
    for line in text.splitlines():
        found = _SERIES.match(line)
        if found is None or found["name"] not in (_ATTACHES, _PAGES):
            continue
        count = int(float(found["value"]))
        outcome = _OUTCOME.search(found["labels"] or "")
        if found["name"] == _PAGES:
            served += Served(pages=count)
        elif outcome is not None and outcome[1] in ("attached", "partial"):
            served += Served(window=count)
        elif outcome is not None and outcome[1] == "behind":
            served += Served(behind=count)
    return served


async def fetch(addresses: Sequence[str]) -> Mapping[str, Served]:
    """Of each process that tells its figures there now; one that is away is left out."""
    found = await asyncio.gather(*(asyncio.to_thread(_fetch, address) for address in addresses))
    return {address: served for address, served in zip(addresses, found, strict=True) if served is not None}


def since(before: Mapping[str, Served], after: Mapping[str, Served]) -> Served:
    """What was counted in between by all; by those that `before` does not have since they started."""
    return sum((served - before.get(address, Served()) for address, served in after.items()), Served())


def _fetch(address: str) -> Served | None:
    try:
        with urlopen(f"http://{address}/metrics", timeout=_TIMEOUT_S) as answer:
            return read(answer.read().decode())
    except OSError:
        return None
