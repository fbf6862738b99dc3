"""How a stream opens, and the access token that it lives by."""

import grpc

from cell.messaging.v1 import messaging_pb2 as messaging
from check.conformance import says
from check.conformance.app import App
from check.conformance.cell import Cell
from check.conformance.scenarios.scenario import needs_connect
from check.conformance.watch import expect


@needs_connect
async def hello_first_and_once(cell: Cell, app: App) -> None:
    """The first command is `hello`, with the cursor to resume after, and there is no second one.

    The cell ends the stream with FAILED_PRECONDITION otherwise.
    """
    await app.connect(cell, cursor="c7")
    stream = await cell.stream()
    await stream.open_after("c7")
    sent = await app.send("hi")
    await stream.say(says.accepted(await stream.send("hi")))
    await app.outcome(sent, "accepted")


@needs_connect
async def nothing_before_welcome(cell: Cell, app: App) -> None:
    """Only `hello` is sent before Welcome has come.

    Welcome tells the limits that every later frame must keep.
    """
    await app.connect(cell)
    stream = await cell.stream()
    await stream.hello()
    sent = await app.send("hi")
    await stream.no_command("a command came before Welcome")
    await stream.open()
    await stream.say(says.accepted(await stream.send("hi")))
    await app.outcome(sent, "accepted")


async def sends_before_resumed(cell: Cell, app: App) -> None:
    """Commands work from Welcome on: they do not wait for `resumed`.

    A client that was away for long would keep its user waiting while it is told what it missed.
    """
    await app.connect(cell)
    stream = await cell.stream()
    await stream.welcome()
    sent = await app.send("hi")
    await stream.say(says.accepted(await stream.send("hi")))
    await app.outcome(sent, "accepted")


async def a_first_start_begins_with_a_snapshot(cell: Cell, app: App) -> None:
    """A client without a cursor reads ListConversations, and resumes after the cursor of that answer.

    Everything up to there shows in what it read, everything behind it comes as an event: nothing is between.
    """
    cell.snapshot = "s1"
    await app.connect(cell, cursor=None)
    stream = await cell.stream()
    await stream.open_after("s1")
    expect(cell.listings, "a call of ListConversations before the stream", "none")
    await app.told("reload")
    await stream.say(says.message("c1", "after the snapshot"))
    await app.told("message", text="after the snapshot")


async def the_token_on_every_call(cell: Cell, app: App) -> None:
    """Streams and calls carry the metadata `authorization: Bearer TOKEN`."""
    await app.connect(cell, cursor=None, token="token-1")
    stream = await cell.stream()
    await stream.open()
    expect(stream.authorization == "Bearer token-1", "authorization 'Bearer token-1'", stream.authorization)
    expect(set(cell.listings) == {"Bearer token-1"}, "the same on ListConversations", cell.listings)


@needs_connect
async def a_warning_refreshes_the_token_on_the_stream(cell: Cell, app: App) -> None:
    """On GoAway TOKEN_EXPIRING the client sends `refresh_token` with a new token, and the stream goes on.

    A new stream for each new token would be a crowd once an hour.
    """
    await app.connect(cell, token="token-1")
    stream = await cell.stream()
    await stream.open()
    await app.token("token-2")
    await stream.say(says.go_away(messaging.GO_AWAY_REASON_TOKEN_EXPIRING, close_in_s=30))
    token = await stream.refreshed("refresh_token after GoAway TOKEN_EXPIRING")
    expect(token == "token-2", "the new token, without `Bearer`", token)
    sent = await app.send("on the same stream")
    await stream.say(says.accepted(await stream.send("on the same stream")))
    await app.outcome(sent, "accepted")
    expect(len(cell.streams) == 1, "one stream", f"{len(cell.streams)} streams")


@needs_connect
async def a_token_is_refreshed_before_it_runs_out(cell: Cell, app: App) -> None:
    """Where Welcome tells token_expire_time the client refreshes before it, by the cell's clock and not by its own.

    The stream ends when the token does. Here it lives for 4 s, by a clock that is decades off.
    """
    await app.connect(cell, token="token-1")
    stream = await cell.stream()
    await app.token("token-2")
    await stream.open(token_lives_s=4)
    token = await stream.refreshed("refresh_token within the 4 s that the token lives")
    late_s = cell.now_s() - stream.opened_s
    expect(late_s < 4.5 + cell.watch.patience_s / 10, "refresh_token before the token has run out", late_s)
    expect(token == "token-2", "the new token", token)


async def a_refused_token_is_not_used_again(cell: Cell, app: App) -> None:
    """After UNAUTHENTICATED the client asks its token source again, and connects with what that gives."""
    await app.connect(cell, token="token-1")
    stream = await cell.stream()
    await app.token("token-2")
    await stream.end(grpc.StatusCode.UNAUTHENTICATED)
    second = await cell.stream()
    expect(second.authorization == "Bearer token-2", "the new token", second.authorization)
    await second.open_after("c0")
    sent = await app.send("hi")
    await second.say(says.accepted(await second.send("hi")))
    await app.outcome(sent, "accepted")
