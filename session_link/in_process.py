"""The link within one process: two queues."""

from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol, TypeVar

from cell.delivery.v1 import session_link_pb2 as link
from session_link.inbox import Inbox
from session_link.port import QUEUE_BYTES, LinkClosed, LinkEnd, OwnerEnd, ServerEnd
from session_link.routed import FromOwner


class _Sized(Protocol):
    def ByteSize(self) -> int: ...


Out = TypeVar("Out", bound=_Sized)
In = TypeVar("In", bound=_Sized)


def in_process_link(queue_bytes: int = QUEUE_BYTES) -> tuple[OwnerEnd, ServerEnd]:
    """A new link. Messages pass as they are, without a copy; each way holds at most `queue_bytes`."""
    to_owner: Inbox[link.ServerMessage] = Inbox()
    to_server: Inbox[FromOwner] = Inbox()
    return _End(to_server, to_owner, queue_bytes), _End(to_owner, to_server, queue_bytes)


class _End(LinkEnd[Out, In]):
    __slots__ = ("_in", "_out", "_queue_bytes")

    def __init__(self, outgoing: Inbox[Out], incoming: Inbox[In], queue_bytes: int) -> None:
        self._out = outgoing
        self._in = incoming
        self._queue_bytes = queue_bytes

    @property
    def queued_bytes(self) -> int:
        return 0 if self._out.ended else self._out.bytes

    def send(self, messages: Sequence[Out]) -> None:
        if self._out.ended:
            raise LinkClosed("the link has ended")
        size = sum([message.ByteSize() for message in messages])
        if self._out.bytes + size > self._queue_bytes:
            self._end("the other end has stopped taking")
            raise LinkClosed("the other end has stopped taking")
        self._out.put(messages, size)

    async def receive(self) -> Sequence[In]:
        return await self._in.take()

    async def receive_into(self, take: Callable[[Sequence[In]], None]) -> NoReturn:
        await self._in.take_into(take)

    async def close(self) -> None:
        self._end("the link was closed")

    def _end(self, reason: str) -> None:
        self._in.end(reason)
        self._out.end(reason)
