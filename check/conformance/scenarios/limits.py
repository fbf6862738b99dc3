"""Commands and frames keep to what Welcome tells."""

import asyncio

from check.conformance import says
from check.conformance.app import App
from check.conformance.cell import Cell, Stream
from check.conformance.scenarios.beginnings import opened
from check.conformance.scenarios.scenario import needs_connect


@needs_connect
async def many_sends_keep_the_limits(cell: Cell, app: App) -> None:
    """Frames hold at most max_commands_per_frame commands, and at most max_in_flight are without an outcome.

    However much the application sends. Beyond the first limit the stream ends, beyond the second commands are refused.
    """
    cell.limits = says.limits(max_commands_per_frame=4, max_in_flight=8)
    await app.connect(cell)
    stream = await cell.stream()
    await stream.hello()
    tags = [await app.send(f"text {n}", to=f"user{n}") for n in range(40)]
    await stream.open()
    await _accept_all(app, stream, tags)


async def a_frame_keeps_its_bytes(cell: Cell, app: App) -> None:
    """A frame has at most Limits.max_frame_bytes bytes. A single command within the other limits always fits.

    Beyond it the stream ends, and with it every command on the way.
    """
    cell.limits = says.limits(max_content_bytes=40_000, max_frame_bytes=65_536)
    await app.connect(cell)
    stream = await cell.stream()
    await stream.hello()
    tags = [await app.send(f"{n} " + "x" * 30_000, to=f"user{n}") for n in range(8)]
    await stream.open()
    await _accept_all(app, stream, tags)


@needs_connect
async def command_ids_rise(cell: Cell, app: App) -> None:
    """Command ids are above 0 and rise on each stream. A new stream may count anew.

    They only match outcomes to commands; what names a message for good is its message_id.
    """
    await app.connect(cell)
    for round_number in range(2):
        stream = await cell.stream()
        await stream.open()
        tags = [await app.send(f"{round_number} {n}", to=f"user{n}") for n in range(10)]
        await _accept_all(app, stream, tags)
        await stream.end()


@needs_connect
async def outcomes_in_any_order(cell: Cell, app: App) -> None:
    """Outcomes belong to commands by command_id, in whichever order they come.

    Two sends to different users may be made durable by different parts of the log.
    """
    stream = await opened(cell, app)
    first, second = await app.send("one", to="bob"), await app.send("two", to="cy")
    commands = {each.send_message.content.text: each for each in await stream.sends("one", "two")}
    await stream.say(says.accepted(commands["two"]))
    await app.outcome(second, "accepted")
    assert not app.has_outcome(first)
    await stream.say(says.accepted(commands["one"]))
    await app.outcome(first, "accepted")


async def _accept_all(app: App, stream: Stream, tags: list[str]) -> None:
    for count in range(len(tags)):
        command = await stream.command(f"{len(tags)} sends; {count} came")
        await asyncio.sleep(0.005)  # so that a client may get ahead of us
        await stream.say(says.accepted(command))
    for tag in tags:
        await app.outcome(tag, "accepted")
