"""How a stream ends, how a client notices, and when it comes back."""

import asyncio
from itertools import pairwise

import grpc

from cell.messaging.v1 import messaging_pb2 as messaging
from check.conformance import says
from check.conformance.app import App
from check.conformance.cell import Cell
from check.conformance.scenarios.beginnings import under_way
from check.conformance.scenarios.scenario import needs_connect
from check.conformance.watch import expect

_COMES_BACK = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.OK,
)
_STORM = 15
"""New streams in so short a time that no pause can have been between them."""


async def it_comes_back_after_every_ending(cell: Cell, app: App) -> None:
    """Whatever a stream ends with, the client comes back by itself and resumes after its cursor.

    UNAVAILABLE, RESOURCE_EXHAUSTED and DEADLINE_EXCEEDED are the cell's; proxies make up others.
    """
    await app.connect(cell)
    for number, code in enumerate(_COMES_BACK):
        stream = await cell.stream(times=2)
        await stream.open_after(f"c{number}")
        await stream.say(says.message(f"c{number + 1}", f"before {code.name}"))
        await app.told("message", text=f"before {code.name}")
        await stream.end(code)
    await (await cell.stream(times=2)).open_after(f"c{len(_COMES_BACK)}")


async def it_pauses_between_attempts(cell: Cell, app: App) -> None:
    """Attempts that fail are followed by pauses: random ones, from a range that grows.

    Without the pause a cell that starts is met by a storm, without the chance by a crowd in step. (That the range grows
    shows in minutes only; try it with a clock of your own.)
    """
    await app.connect(cell)
    opened_s = [await _refused(cell, times=3) for _ in range(5)]
    check_pauses([later - earlier for earlier, later in pairwise(opened_s)])


def check_pauses(pauses_s: list[float]) -> None:
    """Raises Broken if these are none, or if they are all the same."""
    told = ", ".join(f"{pause_s:.2f} s" for pause_s in pauses_s)
    # Four attempts without a pause take less even on a busy machine; with random ones up to 1, 2, 4 and 8 s one client in
    # 3,000 takes less, too.
    expect(sum(pauses_s) > 0.8, "pauses between attempts to connect", told)
    expect(max(pauses_s) - min(pauses_s) > 0.05, "pauses that are random", told)


async def it_waits_as_long_as_an_ending_asks(cell: Cell, app: App) -> None:
    """A RetryInfo in the status that ends a stream is waited out before the client connects again.

    A server that is full knows better than a client when there may be room.
    """
    await app.connect(cell)
    stream = await cell.stream()
    await stream.hello()
    ended_s = cell.now_s()
    await stream.end(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=2.5)
    second = await cell.stream()
    waited_s = second.opened_s - ended_s
    expect(waited_s > 2.4, "the next stream after RetryInfo.retry_delay = 2.5 s", f"after {waited_s:.2f} s")
    await second.open_after("c0")


async def what_cannot_be_cured_is_no_storm(cell: Cell, app: App) -> None:
    """An ending that trying again does not cure is told to the application, or tried again with pauses.

    INVALID_ARGUMENT and FAILED_PRECONDITION are such; a client that tries at once again burns batteries and servers.
    """
    app.may_fail = True
    await app.connect(cell)
    await _refused(cell, grpc.StatusCode.INVALID_ARGUMENT)
    count, until_s = 1, cell.now_s() + 3.0
    failed = asyncio.create_task(app.failed.wait())
    while cell.now_s() < until_s and not failed.done():
        arriving = asyncio.create_task(_refused(cell, grpc.StatusCode.INVALID_ARGUMENT))
        await asyncio.wait({arriving, failed}, timeout=3.0, return_when=asyncio.FIRST_COMPLETED)
        if arriving.done():
            count += 1
            arriving.result()
        arriving.cancel()
    failed.cancel()
    expect(count < _STORM, f"fewer than {_STORM} streams in 3 s", count)


@needs_connect
async def go_away_is_heeded(cell: Cell, app: App) -> None:
    """After GoAway the client sends no more, waits for outcomes, leaves, and comes back after reconnect_after.

    A server that stops sends its clients away spread over time. Commands in flight still get their outcomes there.
    """
    stream, sent, command = await under_way(cell, app)
    told_s = cell.now_s()
    await stream.say(says.go_away(messaging.GO_AWAY_REASON_DRAIN, reconnect_after_s=2.0))
    await asyncio.sleep(0.5)
    later = await app.send("later", to="cy")
    await stream.no_command("a command was sent on a stream that is to be left", for_s=0.5)
    expect(not stream.left.is_set(), "the stream until the outcomes have come", "the client has left it")
    await stream.say(says.accepted(command))
    await app.outcome(sent, "accepted")
    await stream.is_left("that the client leaves once the outcomes have come")
    second = await cell.stream()
    waited_s = second.opened_s - told_s
    expect(waited_s > 1.9, "the next stream after reconnect_after = 2 s", f"after {waited_s:.2f} s")
    await second.open_after("c0")
    await second.say(says.accepted(await second.send("later")))
    await app.outcome(later, "accepted")


async def events_count_after_go_away(cell: Cell, app: App) -> None:
    """Events and checkpoints that come after GoAway are taken as any others."""
    stream, sent, command = await under_way(cell, app)
    await stream.say(says.go_away(messaging.GO_AWAY_REASON_DRAIN))
    await stream.say(says.message("c1", "late"), says.checkpoint("c2"))
    await app.told("message", text="late")
    await stream.say(says.accepted(command))
    await app.outcome(sent, "accepted")
    await (await cell.stream()).open_after("c2")


@needs_connect
async def it_pings_as_advised(cell: Cell, app: App) -> None:
    """The client sends `ping` every Welcome.ping_interval, here 1 s, and not much more often.

    In-band, because proxies end streams without activity, and HTTP/2 pings do not count there.
    """
    await app.connect(cell)
    stream = await cell.stream()
    await stream.open(ping_interval_s=1)
    pings_s = [await stream.ping("a ping every second, as Welcome.ping_interval advises") for _ in range(3)]
    apart_s = pings_s[2] - pings_s[0]
    expect(apart_s > 1.2, "pings about a second apart", f"three within {apart_s:.2f} s")


@needs_connect
async def silence_means_a_dead_stream(cell: Cell, app: App) -> None:
    """A ping without a pong means that the stream is dead: the client leaves it, and resumes on a new one.

    A phone that changes networks has such streams, and nothing else says so. (The hint pong_timeout_s shortens the wait, for
    clients that can be told.)
    """
    await app.connect(cell, pong_timeout_s=2.0)
    stream = await cell.stream()
    stream.answers_pings = False
    await stream.open(ping_interval_s=1)
    await stream.say(says.message("c1", "one"))
    await app.told("message", text="one")
    second = await cell.stream(times=3)
    await second.open_after("c1")


async def _refused(
    cell: Cell, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, *, times: int = 1
) -> float:
    """When the next stream came; it is refused."""
    stream = await cell.stream(times=times)
    await stream.hello()
    await stream.end(code)
    return stream.opened_s
