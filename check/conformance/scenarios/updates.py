"""What a client makes of the frames it is sent."""

import asyncio

from cell.messaging.v1 import messaging_pb2 as messaging
from check.conformance import says
from check.conformance.app import App
from check.conformance.cell import Cell, Stream
from check.conformance.scenarios.beginnings import opened, under_way
from check.conformance.watch import expect

_ODD_US = 1_763_731_234_123_457
"""A time that neither milliseconds nor a double of seconds can hold."""


async def unknown_updates_are_skipped(cell: Cell, app: App) -> None:
    """An update that the client does not know, an empty one and an empty frame are passed over.

    The contract grows while clients stay as they are.
    """
    stream = await opened(cell, app)
    await stream.say(says.unknown_update(), messaging.Update(), says.message("c1", "one"))
    await stream.say()
    await stream.say(says.message("c2", "two"), says.unknown_update())
    await app.told("message", text="one")
    await app.told("message", text="two")


async def unknown_events_move_the_cursor(cell: Cell, app: App) -> None:
    """An event that the client does not know is not told, but its cursor is kept.

    Or the client gets it again at every return, and all that came after it.
    """
    stream = await opened(cell, app)
    await stream.say(says.message("c1", "one"), says.unknown_event("c2"))
    await app.told("message", text="one")
    await stream.end()
    await (await cell.stream()).open_after("c2")


async def unknown_values_of_enums(cell: Cell, app: App) -> None:
    """Values of enums that the client does not know break nothing.

    A reason is some reason, an outcome UNKNOWN, a level NORMAL, a reason to go away as good as any.
    """
    stream = await opened(cell, app)
    await stream.say(says.message("c1", "loud", notify=99))
    await app.told("message", text="loud")
    refused = await app.send("refused")
    await stream.say(says.rejected(await stream.send("refused"), 99))
    await app.outcome(refused, "not_done")
    unknown = await app.send("unknown")
    first = await stream.send("unknown")
    await stream.say(says.rejected(first, 99, outcome=99, retry_after_s=0.1))
    again = await stream.send("unknown")
    expect(again.send_message == first.send_message, "the same message again", again)
    await stream.say(says.accepted(again))
    await app.outcome(unknown, "accepted")
    await stream.say(says.go_away(99))
    await stream.is_left("that the client leaves after a GoAway of an unknown reason")
    await (await cell.stream()).open_after("c1")


async def many_updates_in_a_frame(cell: Cell, app: App) -> None:
    """A frame holds any number of updates, of events and outcomes, in the order in which they happened."""
    stream, sent, command = await under_way(cell, app)
    events = [says.message(f"c{n}", f"text {n}") for n in range(1, 1_001)]
    await stream.say(*events[:500], says.accepted(command), *events[500:])
    await app.outcome(sent, "accepted")
    for n in range(1, 1_001):
        await app.told("message", text=f"text {n}")


async def large_frames(cell: Cell, app: App) -> None:
    """Frames of just under 4 MiB are taken, which is what gRPC clients take unless set otherwise."""
    stream = await opened(cell, app)
    await stream.say(*(says.message(f"c{n}", f"{n} " + "x" * 500_000) for n in range(8)))
    for n in range(8):
        event = await app.told("message")
        expect(event["text"].startswith(f"{n} "), f"message {n}", event["text"][:20])


async def microseconds_are_kept(cell: Cell, app: App) -> None:
    """A MessageRef goes back to the cell as it came, sent_at to the microsecond.

    sent_at is part of a message's name: with its milliseconds alone a reaction belongs to nothing.
    """
    stream = await opened(cell, app)
    event = says.message("c1", "odd", sent_at_us=_ODD_US)
    await stream.say(event)
    told = await app.told("message", text="odd")
    came = told["message"].get("sent_at_us")
    expect(came == _ODD_US, f"the event with sent_at_us {_ODD_US}", came)
    reacted = await app.react(told, "👍")
    reaction = await stream.command("a reaction")
    expect(reaction.react.message == event.event.message.ref, "the ref as it came", reaction)
    expect(reaction.react.key == "👍" and reaction.react.reaction_id, "its key, and an id", reaction)
    await stream.say(says.accepted(reaction))
    await app.outcome(reacted, "accepted")
    marked = await app.mark_read(told)
    mark = await stream.command("a read mark")
    expect(mark.mark_read.through == event.event.message.ref, "the ref as it came", mark)
    await stream.say(says.accepted(mark))
    await app.outcome(marked, "accepted")


async def an_application_that_stalls_loses_nothing(cell: Cell, app: App) -> None:
    """An application that takes no events for a while gets all of them afterwards, in order, each once.

    A command that it gives meanwhile gets its outcome. The client may stop reading, or leave events in the cell and resume
    for them later; it may not drop any.
    """
    log = _Log(cell, events=3_000)
    stream = await opened(cell, app)
    await app.hold()
    serving = asyncio.create_task(log.serve(stream))
    try:
        await log.until_it_stalls()
        sent = await app.send("while it stalls")
        await app.outcome(sent, "accepted")
        await app.go_on()
        for n in range(1, log.events + 1):
            event = await app.told("message")
            expect(event["text"].split()[0] == str(n), f"message {n}", event["text"][:20])
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


class _Log:
    """A cell with many events, which accepts whatever comes."""

    def __init__(self, cell: Cell, events: int) -> None:
        self.events = events
        self._cell = cell
        self._told = 0

    async def serve(self, stream: Stream) -> None:
        """Tell events to this stream, and to each later one those after its cursor."""
        after = 0
        while True:
            both = [asyncio.create_task(self._accept(stream)), asyncio.create_task(self._tell(stream, after))]
            try:
                await stream.left.wait()
            finally:
                for task in both:
                    task.cancel()
            stream = await self._cell.stream(times=3)
            hello = await stream.open()
            after = int(hello.resume_after.removeprefix("c"))

    async def until_it_stalls(self) -> None:
        """Wait until the client reads no more, or has been told everything."""
        before = -1
        while before < self._told < self.events:
            before = self._told
            await asyncio.sleep(2.5)
            self._cell.watch.check()

    async def _tell(self, stream: Stream, after: int) -> None:
        for n in range(after + 1, self.events + 1):
            await stream.say(says.message(f"c{n}", f"{n} " + "x" * 5_000))
            self._told = max(self._told, n)

    async def _accept(self, stream: Stream) -> None:
        while True:
            await stream.say(says.accepted(await stream.any_command()))
