"""The links to all servers: dialed, kept, read, and written once for everything that happened together."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from cell.delivery.v1 import session_link_pb2 as link
from delivery_service.outbox import Outbox
from delivery_service.settings import DeliverySettings
from session_link.port import LinkClosed, OwnerEnd

_SLICE = 256
"""Messages handled before others on the event loop get their turn."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LinkTarget:
    """A messaging server to keep a link to."""

    name: str
    """For logs."""
    dial: Callable[[], Awaitable[OwnerEnd]]
    """Opens a new link; raises LinkClosed where it cannot."""
    wanted: Callable[[], bool] = lambda: True
    """Whether to dial it once more when a link has ended, or could not be had."""


class Links:
    """One link to each target while it can be had; dialed again, with backoff and jitter, whenever it ends."""

    def __init__(
        self,
        settings: DeliverySettings,
        welcome: Callable[[Outbox], None],
        hear: Callable[[Outbox, link.ServerMessage], None],
        unlink: Callable[[Outbox], None],
    ) -> None:
        """`welcome` fills a new link's outbox, `hear` takes each message, `unlink` is told of the end."""
        self._settings = settings
        self._welcome = welcome
        self._hear = hear
        self._unlink = unlink
        self._ends: dict[Outbox, OwnerEnd] = {}
        self._closing = False

    def outboxes(self) -> Collection[Outbox]:
        """Of the links that are up."""
        return self._ends.keys()

    @property
    def queued_bytes(self) -> int:
        """What servers have not taken yet."""
        return sum([end.queued_bytes for end in self._ends.values()])

    def flush(self) -> None:
        """Send what is in the outboxes. A link that has ended takes nothing; its loop will see to it."""
        for outbox, end in self._ends.items():
            if outbox.messages:
                with suppress(LinkClosed):
                    end.send(outbox.drain())

    async def close(self) -> None:
        """End all links, and open none."""
        self._closing = True
        self.flush()
        await asyncio.gather(*(end.close() for end in self._ends.values()))

    async def keep(self, target: LinkTarget) -> None:
        """Keep a link to a target, until it is no longer wanted or this is cancelled."""
        backoff_s = self._settings.min_backoff_s
        while not self._closing and target.wanted():
            began = asyncio.get_running_loop().time()
            try:
                await self._serve(target.name, await target.dial())
            except (LinkClosed, OSError) as error:
                if not self._closing:
                    _log.info("link_ended", server=target.name, reason=str(error))
            if asyncio.get_running_loop().time() - began > self._settings.max_backoff_s:
                backoff_s = self._settings.min_backoff_s  # it was up for a while
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, self._settings.max_backoff_s)

    async def _serve(self, name: str, end: OwnerEnd) -> None:
        """Run one link until it ends. Raises LinkClosed."""
        outbox = Outbox(name)
        self._ends[outbox] = end
        try:
            self._welcome(outbox)
            self.flush()
            while True:
                await self._take(outbox, await end.receive())
                await self._room(end)
        finally:
            del self._ends[outbox]
            self._unlink(outbox)
            await end.close()

    async def _take(self, outbox: Outbox, messages: Sequence[link.ServerMessage]) -> None:
        for start in range(0, len(messages), _SLICE):
            for message in messages[start : start + _SLICE]:
                self._hear(outbox, message)
            self.flush()
            if len(messages) > _SLICE:
                await asyncio.sleep(0)

    async def _room(self, end: OwnerEnd) -> None:
        """Leave further attaches where they are while their answers would pile up."""
        while end.queued_bytes > self._settings.link_pause_bytes:  # noqa: ASYNC110 - a link has no event for this
            await asyncio.sleep(0.01)
