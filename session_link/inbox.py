"""Where an end keeps what has arrived until somebody receives it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, NoReturn, TypeVar

from session_link.port import LinkClosed

In = TypeVar("In")


class Inbox(Generic[In]):
    """Messages in order, then the end."""

    __slots__ = ("_arrived", "_end_reason", "_messages", "_taken", "_taker", "bytes")

    def __init__(self) -> None:
        self.bytes = 0
        """Size of what is waiting here."""
        self._messages: list[In] = []
        self._end_reason: str | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._taken: asyncio.Future[None] | None = None
        self._taker: Callable[[Sequence[In]], None] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will arrive."""
        return self._end_reason is not None

    def put(self, messages: Sequence[In], size_bytes: int) -> None:
        """Add messages. What comes after the end is dropped."""
        if self._end_reason is not None:
            return
        self._messages.extend(messages)
        self.bytes += size_bytes
        if self._taker is None:
            _wake(self._arrived)
        else:
            self._give_to(self._taker)

    def end(self, reason: str) -> None:
        """Nothing more will arrive. The first reason stands."""
        if self._end_reason is None:
            self._end_reason = reason
            _wake(self._arrived)
            _wake(self._taken)

    async def take(self) -> Sequence[In]:
        """Everything that is here, at least one message. Raises LinkClosed at the end."""
        while not self._messages:
            if self._end_reason is not None:
                raise LinkClosed(self._end_reason)
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        return self._drain()

    async def take_into(self, taker: Callable[[Sequence[In]], None]) -> NoReturn:
        """Have `taker` called with everything that is here and, within `put`, with what arrives from now on.

        Raises LinkClosed at the end, and what `taker` raised: whoever put that learns of it by the end of the link.
        """
        if self._messages:
            taker(self._drain())
        if self._end_reason is None:
            self._arrived = asyncio.get_running_loop().create_future()
            self._taker = taker
            try:
                await self._arrived
            finally:
                self._taker = None
        raise LinkClosed(self._end_reason or "")

    def _give_to(self, taker: Callable[[Sequence[In]], None]) -> None:
        try:
            taker(self._drain())
        except Exception as error:
            self._taker = None
            assert self._arrived is not None
            if not self._arrived.done():
                self._arrived.set_exception(error)

    def _drain(self) -> Sequence[In]:
        messages, self._messages, self.bytes = self._messages, [], 0
        _wake(self._taken)
        return messages

    async def emptied(self) -> None:
        """Return when there is nothing here, or the end has come."""
        while self._messages and self._end_reason is None:
            self._taken = asyncio.get_running_loop().create_future()
            await self._taken


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
