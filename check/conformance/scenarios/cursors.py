"""Where a client stands, and how it comes back there."""

import grpc

from cell.messaging.v1 import messaging_pb2 as messaging
from check.conformance import says
from check.conformance.app import App
from check.conformance.cell import Cell
from check.conformance.scenarios.beginnings import opened
from check.conformance.watch import expect


async def it_resumes_after_its_last_cursor(cell: Cell, app: App) -> None:
    """`event`, `resumed` and `checkpoint` move the cursor, and the next hello resumes after the last of them (R10)."""
    await app.connect(cell, cursor="c0")
    stream = await cell.stream()
    await stream.open_after("c0")
    await stream.say(says.message("c1", "one"), says.message("c2", "two"))
    await stream.end()
    stream = await cell.stream()
    hello = await stream.hello()
    expect(hello.resume_after == "c2", "resume_after 'c2', of the last event", hello.resume_after)
    await stream.say(says.welcome(cell.limits), says.resumed("c3"))
    await stream.end()
    stream = await cell.stream()
    await stream.open_after("c3")
    await stream.say(says.checkpoint("c4"))
    await stream.end()
    await (await cell.stream()).open_after("c4")
    await app.told("message", text="one")
    await app.told("message", text="two")


async def accepted_moves_no_cursor(cell: Cell, app: App) -> None:
    """`Accepted` does not move the cursor, nor does any other outcome (R10).

    The message's own event comes later, and between the two there may be events of others, which would be lost.
    """
    await app.connect(cell, cursor="c0")
    stream = await cell.stream()
    await stream.open()
    sent = await app.send("mine")
    command = await stream.send("mine")
    await stream.say(says.accepted(command))
    await app.outcome(sent, "accepted")
    await stream.end()
    stream = await cell.stream()
    await stream.open_after("c0")
    await stream.say(says.message("c1", "before mine"), says.own("c2", command))
    await app.told("message", text="before mine")
    await app.told("message", text="mine")


async def repeats_are_dropped(cell: Cell, app: App) -> None:
    """An event that the client has told already is not told again: a message is known by its sender and id.

    After a snapshot, or where a cell is asked for more than was missed, some come twice.
    """
    stream = await opened(cell, app)
    await stream.say(says.message("c1", "one"), says.message("c2", "two"))
    await app.told("message", text="one")
    await app.told("message", text="two")
    await stream.end()
    stream = await cell.stream()
    await stream.welcome()
    await stream.say(says.message("c1", "one"), says.message("c2", "two"), says.message("c3", "three"))
    await stream.say(says.resumed("c3"))
    await app.told("message", text="three")
    await stream.end()
    await (await cell.stream()).open_after("c3")


async def a_gap_reloads(cell: Cell, app: App) -> None:
    """On Gap the client reads ListConversations, tells the application that it must reload, and resumes after that cursor.

    The events of the gap are not to be had any more; what they changed shows in conversations and history.
    """
    cell.snapshot = "s1"
    await app.connect(cell)
    stream = await cell.stream()
    await stream.welcome()
    await stream.say(says.gap("c0", "c5"), says.resumed("c5"))
    stream = await cell.stream()
    await stream.open_after("s1")
    expect(cell.listings, "a call of ListConversations", "none")
    await app.told("reload")
    await stream.say(says.message("c9", "behind the snapshot"))
    await app.told("message", text="behind the snapshot")


async def a_reset_reloads(cell: Cell, app: App) -> None:
    """On `resumed` with RESET the client reads ListConversations, tells the application, and resumes after that cursor.

    The cell has another log than the cursor's: what happened between is not known to anyone.
    """
    cell.snapshot = "s1"
    await app.connect(cell)
    stream = await cell.stream()
    await stream.welcome()
    await stream.say(says.resumed("n1", messaging.RESUME_OUTCOME_RESET))
    await (await cell.stream()).open_after("s1")
    expect(cell.listings, "a call of ListConversations", "none")
    await app.told("reload")


async def a_cursor_past_the_end_reloads(cell: Cell, app: App) -> None:
    """After OUT_OF_RANGE the client reads ListConversations, tells the application, and resumes after that cursor.

    The cursor was past the log's end; with the same one it would be refused for ever.
    """
    cell.snapshot = "s1"
    await app.connect(cell, cursor="c99")
    stream = await cell.stream()
    await stream.hello()
    await stream.end(grpc.StatusCode.OUT_OF_RANGE)
    await (await cell.stream()).open_after("s1")
    expect(cell.listings, "a call of ListConversations", "none")
    await app.told("reload")
