"""What outlives the process: for clients that keep something on disk. The application is killed, and started again."""

from cell.messaging.v1 import messaging_pb2 as messaging
from check.conformance import says
from check.conformance.app import App
from check.conformance.cell import Cell, Stream
from check.conformance.watch import expect


async def it_starts_again_where_the_application_was(cell: Cell, app: App) -> None:
    """After a kill the client resumes after the last event that the application was done with, and tells later ones again.

    Not after the last that it had received: what the application had not seen yet would be lost.
    """
    stream = await _first_start(cell, app)
    await stream.say(says.message("c1", "one"))
    await app.told("message", text="one")
    await stream.say(says.message("c2", "two"))
    await app.told("message", text="two")
    await stream.say(says.checkpoint("c3"))
    await _fence(app, stream)  # by then what was taken is kept
    await app.hold()
    await stream.say(says.message("c4", "three"), says.message("c5", "four"), says.checkpoint("c6"))
    await app.told("message", text="three")
    await _fence(app, stream)
    await app.start_again()
    await app.connect(cell, cursor=None, store=app.store)
    stream = await cell.stream()
    hello = await stream.open()
    expected = ("s1", "c1", "c2", "c3")
    expect(hello.resume_after in expected, f"resume_after one of {expected}", hello.resume_after)
    await stream.say(says.message("c4", "three"), says.message("c5", "four"))
    await app.told("message", text="three")
    await app.told("message", text="four")


async def after_a_restart_it_looks_first_and_finds_it(cell: Cell, app: App) -> None:
    """A command that was tried by a process that was killed is not tried blindly by the next: its event settles it (R3).

    No clock tells how long ago the first try was.
    """
    first, stream = await _killed_in_mid_send(cell, app)
    await stream.no_command("it was tried again blindly after a restart, before `resumed`")
    await stream.say(says.own("c1", first), says.resumed("c1"))
    await app.told("message", text="hi")
    await _fence(app, stream)


async def after_a_restart_it_looks_first_and_sends_anew(cell: Cell, app: App) -> None:
    """A command that a killed process had tried, and whose event has not come by `resumed`, is sent by the next one.

    With the id and the payload that it had: both were on disk before the first try.
    """
    first, stream = await _killed_in_mid_send(cell, app)
    await stream.no_command("it was tried again blindly after a restart, before `resumed`")
    await stream.say(says.resumed("s1"))
    while (again := await stream.command_or_end("the send of the process before, anew")) is None:
        stream = await cell.stream()
        await stream.open()
    expect(again.send_message == first.send_message, f"the same message, {first}", again)
    await stream.say(says.accepted(again))


async def _first_start(cell: Cell, app: App) -> Stream:
    cell.snapshot = "s1"
    await app.connect(cell, cursor=None, store=app.store)
    stream = await cell.stream()
    await stream.open_after("s1")
    await app.told("reload")
    return stream


async def _fence(app: App, stream: Stream) -> None:
    """A command that is sent, and accepted, behind everything before."""
    fence = await app.send("fence", to="cy")
    await stream.say(says.accepted(await stream.send("fence")))
    await app.outcome(fence, "accepted")


async def _killed_in_mid_send(cell: Cell, app: App) -> tuple[messaging.Command, Stream]:
    """A command whose process was killed; and the stream of the next one, after Welcome."""
    stream = await _first_start(cell, app)
    await stream.say(says.message("c0", "taken"), says.message("c00", "so that the one before is done with"))
    await app.told("message", text="taken")
    await app.told("message")
    await app.send("hi")
    first = await stream.send("hi")
    await app.start_again()
    await app.connect(cell, cursor=None, store=app.store)
    stream = await cell.stream()
    await stream.welcome()
    return first, stream
