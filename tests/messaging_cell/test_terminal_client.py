"""The small client of the commands: what it tries again, with what, and what it tells."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from cell.messaging.v1 import messaging_pb2_grpc as messaging_grpc
from messaging_cell import terminal_client
from messaging_cell.setting_kinds import Address
from messaging_cell.terminal_client import ClientError, CursorRefused, Offline, OutcomeUnknown, TerminalClient
from messaging_core.grpc_status import abort
from messaging_core.refusals import Refused

Context = grpc.aio.ServicerContext[Any, Any]
Answer = Callable[[Any, Context], Awaitable[None]]


class ScriptedCell(messaging_grpc.MessagingServiceServicer):
    """Answers each call by the next step of a script, and keeps what it was asked."""

    def __init__(self, *script: Answer) -> None:
        self.script = list(script)
        self.outcome: messaging.RejectedOutcome = messaging.REJECTED_OUTCOME_NOT_DONE
        self.asked: list[Any] = []
        self.tokens: list[str] = []

    async def _step(self, request: Any, context: Context) -> None:
        self.asked.append(request)
        self.tokens.append(dict(context.invocation_metadata() or ())["authorization"])  # type: ignore[arg-type]
        if self.script:
            await self.script.pop(0)(request, context)

    async def SendMessage(self, request: Any, context: Context) -> messaging.SendMessageResponse:
        await self._step(request, context)
        ref = messaging.MessageRef(message_id=request.send_message.message_id)
        return messaging.SendMessageResponse(message=ref)

    async def Execute(self, request: Any, context: Context) -> messaging.ExecuteResponse:
        await self._step(request, context)
        rejected = messaging.Rejected(detail="no such message", field="react.message", outcome=self.outcome)
        return messaging.ExecuteResponse(outcomes=[messaging.Outcome(rejected=rejected)])

    async def Subscribe(self, request: Any, context: Context) -> None:
        await self._step(request, context)
        if not self.script:
            await asyncio.sleep(3_600)


def refuse(status: grpc.StatusCode, detail: str = "because") -> Answer:
    async def step(_: Any, context: Context) -> None:
        await context.abort(status, detail)

    return step


def refuse_as(refused: Refused) -> Answer:
    async def step(_: Any, context: Context) -> None:
        await abort(context, refused)

    return step


def tell(*updates: messaging.Update) -> Answer:
    async def step(_: Any, context: Context) -> None:
        await context.write(messaging.SubscribeResponse(updates=updates))

    return step


async def accept(_: Any, __: Context) -> None:
    """Nothing to say against it."""


@asynccontextmanager
async def connected(
    cell: ScriptedCell, token: Callable[[], str] = lambda: "t"
) -> AsyncIterator[TerminalClient]:
    server = grpc.aio.server()
    messaging_grpc.add_MessagingServiceServicer_to_server(cell, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with TerminalClient(Address("127.0.0.1", port), token) as client:
            yield client
    finally:
        await server.stop(None)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_client, "_backoff_s", lambda tries: 0.001)


async def test_a_send_is_tried_again_with_the_same_id() -> None:
    """What may or may not have been done is asked again, unchanged, until it is known."""
    unavailable = Refused(messaging.REJECTED_REASON_UNAVAILABLE, "away", retry_after_s=0.01)
    cell = ScriptedCell(
        refuse(grpc.StatusCode.UNAVAILABLE),
        refuse(grpc.StatusCode.DEADLINE_EXCEEDED),
        refuse_as(unavailable),
        refuse_as(Refused(messaging.REJECTED_REASON_RATE_LIMITED, "slower", retry_after_s=0.01)),
        accept,
    )
    async with connected(cell) as client:
        ref = await client.send(["bob"], "hello")
    assert len(cell.asked) == 5
    assert {request.send_message.message_id for request in cell.asked} == {ref.message_id}
    assert all(request == cell.asked[0] for request in cell.asked)


async def test_a_send_that_is_never_answered_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time in which a blind retry is safe (R3) the outcome is unknown, and said to be."""
    monkeypatch.setattr(terminal_client, "RETRY_WINDOW_S", terminal_client._CALL_TIMEOUT_S + 0.05)
    cell = ScriptedCell(*[refuse(grpc.StatusCode.UNAVAILABLE)] * 1_000)
    async with connected(cell) as client:
        with pytest.raises(OutcomeUnknown, match="does not answer"):
            await client.send(["bob"], "hello")


@pytest.mark.parametrize(
    "outcome", [messaging.REJECTED_OUTCOME_UNKNOWN, messaging.REJECTED_OUTCOME_UNSPECIFIED]
)
async def test_a_command_that_may_have_been_done_is_not_called_refused(
    outcome: messaging.RejectedOutcome,
) -> None:
    """Unless the cell says that a command was not done, its outcome is unknown (R4)."""
    cell = ScriptedCell()
    cell.outcome = outcome
    async with connected(cell) as client:
        with pytest.raises(OutcomeUnknown, match="not known whether this was done"):
            await client.execute(messaging.Command())


async def test_a_refusal_is_told_and_not_tried_again() -> None:
    """What would be refused again is told at once, with the field."""
    refused = Refused(messaging.REJECTED_REASON_INVALID_FIELD, "is empty", field="content.text")
    cell = ScriptedCell(refuse_as(refused))
    async with connected(cell) as client:
        with pytest.raises(ClientError, match=r"refused it: is empty \(content.text\)"):
            await client.send(["bob"], "")
        with pytest.raises(ClientError, match="no such message"):
            await client.execute(messaging.Command(react=messaging.React()))
    assert len(cell.asked) == 2


async def test_a_stream_that_breaks_is_resumed_after_the_cursor() -> None:
    """Every update that moves the cursor does (R10), and the next stream starts there."""
    cell = ScriptedCell(
        tell(messaging.Update(event=messaging.Event(cursor="c1"))),
        refuse(grpc.StatusCode.UNAVAILABLE),
        tell(
            messaging.Update(gap=messaging.Gap(after="c1", until="c2")),
            messaging.Update(pong=messaging.Pong()),
        ),
        tell(messaging.Update(checkpoint=messaging.Checkpoint(cursor="c3"))),
        tell(messaging.Update(resumed=messaging.Resumed(cursor="c4"))),
        tell(messaging.Update(event=messaging.Event(cursor="end"))),
    )
    async with connected(cell) as client:
        offline = 0
        async for update in client.updates("c0"):
            offline += isinstance(update, Offline)
            if isinstance(update, messaging.Update) and update.event.cursor == "end":
                break
    assert [request.hello.resume_after for request in cell.asked] == ["c0", "c1", "c1", "c2", "c3", "c4"]
    assert offline == 5


async def test_live_only_until_there_is_a_cursor() -> None:
    """Who begins from now resumes from where that was."""
    cell = ScriptedCell(
        refuse(grpc.StatusCode.UNAVAILABLE),
        tell(messaging.Update(resumed=messaging.Resumed(cursor="c1"))),
        tell(messaging.Update(event=messaging.Event(cursor="end"))),
    )
    async with connected(cell) as client:
        async for update in client.updates(None):
            if isinstance(update, messaging.Update) and update.event.cursor == "end":
                break
    assert [request.hello.WhichOneof("start") for request in cell.asked] == [
        "live_only",
        "live_only",
        "resume_after",
    ]


async def test_go_away_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is left, and opened again no sooner than asked for."""
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0 if seconds == 7.5 else seconds)

    go_away = messaging.GoAway(reason=messaging.GO_AWAY_REASON_DRAIN)
    go_away.reconnect_after.FromMilliseconds(7_500)
    cell = ScriptedCell(
        tell(messaging.Update(go_away=go_away)), tell(messaging.Update(event=messaging.Event(cursor="end")))
    )
    async with connected(cell) as client:
        monkeypatch.setattr(asyncio, "sleep", noted)
        async for update in client.updates("c0"):
            if isinstance(update, messaging.Update) and update.event.cursor == "end":
                break
    assert waits[0] == 7.5


async def test_endings_that_trying_again_does_not_help() -> None:
    """A token that does not hold and a cursor past the end are told."""
    for status, kind in (
        (grpc.StatusCode.UNAUTHENTICATED, ClientError),
        (grpc.StatusCode.OUT_OF_RANGE, CursorRefused),
        (grpc.StatusCode.UNIMPLEMENTED, ClientError),
    ):
        async with connected(ScriptedCell(refuse(status))) as client:
            with pytest.raises(kind):
                async for _ in client.updates("c0"):
                    pass


async def test_each_try_asks_for_a_token() -> None:
    """A token that has run out is not used for ever."""
    tokens = iter(("one", "two"))
    cell = ScriptedCell(refuse(grpc.StatusCode.UNAVAILABLE), accept)
    async with connected(cell, lambda: next(tokens)) as client:
        await client.send(["bob"], "hello")
    assert cell.tokens == ["Bearer one", "Bearer two"]
