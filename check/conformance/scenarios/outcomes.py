"""What becomes of a command: accepted, not done, unknown; and the promise that it happens once (R3, R4)."""

import asyncio

from cell.messaging.v1 import messaging_pb2 as messaging
from check.conformance import says
from check.conformance.app import App
from check.conformance.cell import Cell, Stream
from check.conformance.scenarios.beginnings import opened, under_way
from check.conformance.watch import expect

_WINDOW_S = 2.0
_UNKNOWN = messaging.REJECTED_OUTCOME_UNKNOWN


async def not_done_with_a_hint_is_tried_again(cell: Cell, app: App) -> None:
    """A Rejected that is NOT_DONE and has retry_after is tried again after that time, with the same id and payload."""
    stream, sent, first = await under_way(cell, app)
    refused_s = cell.now_s()
    await stream.say(says.rejected(first, messaging.REJECTED_REASON_RATE_LIMITED, retry_after_s=1.0))
    again = await stream.send("hi")
    waited_s = cell.now_s() - refused_s
    expect(waited_s > 0.9, "the next try after retry_after = 1 s", f"after {waited_s:.2f} s")
    _same(first, again)
    await stream.say(says.accepted(again))
    await app.outcome(sent, "accepted")


async def not_done_without_a_hint_is_told(cell: Cell, app: App) -> None:
    """A Rejected that is NOT_DONE and has no retry_after is told to the application, and not tried again.

    The same again would be refused again.
    """
    stream = await opened(cell, app)
    refused = await app.send("bad")
    await stream.say(says.rejected(await stream.send("bad"), messaging.REJECTED_REASON_INVALID_FIELD))
    await app.outcome(refused, "not_done")
    await _fence(app, stream)


async def unknown_is_tried_again_blindly(cell: Cell, app: App) -> None:
    """A Rejected whose outcome is UNKNOWN is not told as refused, but tried again with the same id and payload.

    It may have happened. Within Limits.retry_window of the first try the cell drops a second one with the same id.
    """
    stream, sent, first = await under_way(cell, app)
    await stream.say(
        says.rejected(first, messaging.REJECTED_REASON_DEADLINE, outcome=_UNKNOWN, retry_after_s=0)
    )
    again = await stream.send("hi")
    _same(first, again)
    await stream.say(says.accepted(again))
    await app.outcome(sent, "accepted")


async def a_broken_stream_leaves_it_unknown(cell: Cell, app: App) -> None:
    """A command without an outcome when its stream breaks is tried again on the next one, with the same id and payload."""
    stream, sent, first = await under_way(cell, app)
    await stream.end()
    stream = await cell.stream()
    await stream.open()
    again = await stream.send("hi")
    _same(first, again)
    await stream.say(says.accepted(again))
    await app.outcome(sent, "accepted")


async def its_own_event_settles_it(cell: Cell, app: App) -> None:
    """A command whose own event comes has happened, whatever became of its outcome.

    The event may come before `Accepted`, or on the next stream in place of it.
    """
    stream = await opened(cell, app)
    sent = await app.send("hi")
    await stream.say(says.own("c1", await stream.send("hi")))
    await app.told("message", text="hi")
    await stream.end()
    stream = await cell.stream()
    await stream.open_after("c1")
    for command in await _tries_until_fence(app, stream):
        await stream.say(says.accepted(command))
    await app.outcome(sent, "accepted")


async def late_it_looks_first_and_finds_it(cell: Cell, app: App) -> None:
    """After Limits.retry_window a client resumes first; if the command's own event comes, it is accepted (R3).

    The cell has forgotten the id by then: a blind try would be a second message.
    """
    first, sent, stream = await _unanswered(cell, app)
    await stream.no_command("it was tried again blindly after Limits.retry_window, before `resumed`")
    await stream.say(says.own("c1", first), says.resumed("c1"))
    await app.told("message", text="hi")
    await app.outcome(sent, "accepted")
    await _fence(app, stream)


async def late_it_looks_first_and_sends_anew(cell: Cell, app: App) -> None:
    """After Limits.retry_window a command whose event has not come by `resumed` never was: it is sent anew (R3).

    With the same id, and on a stream that was opened since. Its new window begins when that stream was opened.
    """
    first, sent, stream = await _unanswered(cell, app)
    await stream.no_command("it was tried again blindly after Limits.retry_window, before `resumed`")
    await stream.say(says.resumed("c0"))
    while (again := await stream.command_or_end("a send of 'hi', after `resumed`")) is None:
        stream = await cell.stream()  # slow machine: the new window was over, too
        await stream.open()
    _same(first, again)
    await stream.say(says.accepted(again))
    await app.outcome(sent, "accepted")


async def late_after_a_gap_it_looks_in_history(cell: Cell, app: App) -> None:
    """After Gap or RESET a command without an outcome is looked for in history before it is sent anew.

    Its event may be in the gap. ListMessages has it, and the client knows it by its id.
    """
    first, sent, stream = await _unanswered(cell, app)
    cell.stored = [says.own("c1", first).event.message]
    cell.snapshot = "s1"
    await stream.say(says.gap("c0", "c5"), says.resumed("c5"))
    stream = await cell.stream()
    await stream.open_after("s1")
    await app.told("reload")
    await stream.no_command("it was sent anew although history has it")
    await app.outcome(sent, "accepted")
    await _fence(app, stream)


async def another_log_knows_no_ids(cell: Cell, app: App) -> None:
    """Where Welcome names another log than before, what was tried there is looked for first, never tried blindly.

    The new log does not remember its ids. The client reloads, looks in history, and sends anew what is not there.
    """
    await app.connect(cell)
    stream = await cell.stream()
    await stream.open(log="log-1")
    sent = await app.send("hi")
    first = await stream.send("hi")
    await stream.end()
    stream = await cell.stream()
    cell.snapshot = "s1"
    await stream.welcome(log="log-2")
    await stream.no_command("it was tried blindly in another log")
    await stream.say(says.resumed("n1", messaging.RESUME_OUTCOME_RESET))
    stream = await cell.stream()
    await stream.open_after("s1", log="log-2")
    again = await stream.send("hi")
    _same(first, again)
    await stream.say(says.accepted(again))
    await app.outcome(sent, "accepted")


async def a_refusal_after_an_unknown_try_is_not_the_last_word(cell: Cell, app: App) -> None:
    """If an earlier try may have happened, the refusal of a later one speaks for that later one alone (R4).

    The client looks, on a stream opened since, before it tells the application that nothing happened.
    """
    stream, sent, first = await under_way(cell, app)
    await stream.end()
    stream = await cell.stream()
    await stream.open()
    again = await stream.send("hi")
    await stream.say(says.rejected(again, messaging.REJECTED_REASON_NOT_FOUND))
    stream = await cell.stream()
    await stream.welcome()
    await stream.say(says.own("c1", first), says.resumed("c1"))
    await app.told("message", text="hi")
    await app.outcome(sent, "accepted")


async def a_conflict_found_late_is_told(cell: Cell, app: App) -> None:
    """A Rejected with command_id 0 is told to the application, by message_id, though the message was accepted.

    Its id belongs to another payload, which was first, and stands.
    """
    stream, sent, command = await under_way(cell, app)
    await stream.say(says.accepted(command))
    await app.outcome(sent, "accepted")
    told = says.rejected(command, messaging.REJECTED_REASON_MESSAGE_ID_CONFLICT)
    told.rejected.command_id = 0
    await stream.say(told)
    await app.told("not_sent", message_id=command.send_message.message_id)


async def what_goes_to_one_place_keeps_its_order(cell: Cell, app: App) -> None:
    """A message to the same users or conversation is not sent before the one before it has its outcome.

    Two on the way at once change places when the first must be tried again.
    """
    stream = await opened(cell, app)
    tags = [await app.send(text) for text in ("one", "two", "three")]
    first = await stream.send("one")
    await stream.no_command("a message to the same place overtook one without an outcome", for_s=0.4)
    await stream.say(says.rejected(first, messaging.REJECTED_REASON_UNAVAILABLE, retry_after_s=0.3))
    for text in ("one", "two", "three"):
        await stream.say(says.accepted(await stream.send(text)))
    for tag in tags:
        await app.outcome(tag, "accepted")


async def close_waits_for_outcomes(cell: Cell, app: App) -> None:
    """A client that is closed waits for the outcomes of what is under way, as far as the application lets it."""
    stream, sent, command = await under_way(cell, app)
    await app.close()
    await asyncio.sleep(0.5)
    await stream.say(says.accepted(command))
    await app.outcome(sent, "accepted")
    await app.is_closed()
    await stream.is_left("that the client leaves its stream when it is closed")


def _same(first: messaging.Command, again: messaging.Command) -> None:
    expect(
        again.send_message.message_id == first.send_message.message_id,
        f"the same message_id {first.send_message.message_id!r}",
        repr(again.send_message.message_id),
    )
    expect(again.send_message == first.send_message, f"the same payload, {first}", again)


async def _unanswered(cell: Cell, app: App) -> tuple[messaging.Command, str, Stream]:
    """A send that had no outcome, and whose retry window is over; its tag; and the next stream, after Welcome."""
    cell.limits = says.limits(retry_window_s=_WINDOW_S)
    stream, sent, first = await under_way(cell, app)
    await asyncio.sleep(1.25 * _WINDOW_S)
    await stream.end()
    stream = await cell.stream()
    await stream.welcome()
    return first, sent, stream


async def _fence(app: App, stream: Stream) -> None:
    """Nothing was sent in between: the next command is the one that is given now."""
    fence = await app.send("fence")
    await stream.say(says.accepted(await stream.send("fence")))
    await app.outcome(fence, "accepted")


async def _tries_until_fence(app: App, stream: Stream) -> list[messaging.Command]:
    """What is sent before a message that is given now, which goes elsewhere."""
    await app.send("fence", to="cy")
    tries: list[messaging.Command] = []
    while (command := await stream.command("a send of 'fence'")).send_message.content.text != "fence":
        tries.append(command)
    return tries
