"""How most scenarios begin."""

from cell.messaging.v1 import messaging_pb2 as messaging
from check.conformance.app import App
from check.conformance.cell import Cell, Stream


async def opened(cell: Cell, app: App) -> Stream:
    """The stream of a client that has just connected, after Welcome."""
    await app.connect(cell)
    stream = await cell.stream()
    await stream.open()
    return stream


async def under_way(cell: Cell, app: App) -> tuple[Stream, str, messaging.Command]:
    """As `opened`, with a message under way; the tag of its outcome, and its command."""
    stream = await opened(cell, app)
    sent = await app.send("hi")
    return stream, sent, await stream.send("hi")
