"""The link port. Its messages are those of cell.delivery.v1, in one process too, but for events, which are `Routed`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, NoReturn, TypeVar

from cell.delivery.v1 import session_link_pb2 as link
from session_link.routed import FromOwner

Out = TypeVar("Out")
In = TypeVar("In")

QUEUE_BYTES = 64 * 1024 * 1024
"""Default bound of what one end may have queued for the other."""


class LinkClosed(Exception):
    """The link has ended, for whatever reason; nothing outlives it (R7). What was sent may have arrived or not."""


class LinkRefused(Exception):
    """The server will not serve this link: the two sides do not stand on the same log. Raised by what serves it."""


class LinkBroken(Exception):
    """The other end broke the order of messages. Raised by what serves the link."""


class LinkEnd(ABC, Generic[Out, In]):
    """One end of a link. First in, first out, each way; used by tasks of one event loop."""

    @property
    @abstractmethod
    def queued_bytes(self) -> int:
        """What was sent and the other end has not taken yet; a sender that can wait does so while this is high.

        0 once nothing goes out any more: whoever waits comes to `receive`, which tells of the end.
        """

    @abstractmethod
    def send(self, messages: Sequence[Out]) -> None:
        """Queue messages for the other end; never blocks. They must not change from then on. Raises LinkClosed.

        A queue past its bound in bytes means the other end has stopped taking: the link ends, and sessions attach anew.
        """

    @abstractmethod
    async def receive(self) -> Sequence[In]:
        """The next messages, at least one. Raises LinkClosed once the link has ended, after what arrived before.

        One task at a time; cancelling it loses nothing.
        """

    async def receive_into(self, take: Callable[[Sequence[In]], None]) -> NoReturn:
        """Give everything that arrives to `take`, which never awaits, until the link has ended.

        Where both ends are in one process that is within `send`: so `take` must not send. Raises LinkClosed, and what
        `take` raises, after which it is given nothing more.
        """
        while True:
            take(await self.receive())

    @abstractmethod
    async def close(self) -> None:
        """End the link. What was sent still goes out if the other end takes it within a second. May be called twice."""


OwnerEnd = LinkEnd[FromOwner, link.ServerMessage]
"""The delivery service's end."""
ServerEnd = LinkEnd[link.ServerMessage, FromOwner]
"""The messaging server's end."""
