"""The plain client does what the contract asks of clients, and hides nothing: shown against a scripted server."""

import asyncio

import grpc
import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from check.ledger import Opened, once_violations
from check.plain_client import PlainClient
from check.plain_outbox import text_message
from tests.system.scripted_server import Talk, scripted_server


def token(user_id: str) -> str:
    return user_id


def message_event(cursor: str, message_id: str, sender_id: str = "ann") -> messaging.Update:
    ref = messaging.MessageRef(conversation_id="conv", sender_id=sender_id, message_id=message_id)
    return messaging.Update(event=messaging.Event(cursor=cursor, message=messaging.Message(ref=ref)))


async def greet(talk: Talk) -> None:
    await talk.hello()
    await talk.welcome()


async def test_it_keeps_doubles() -> None:
    """An event that comes twice is in the ledger twice."""

    async def script(talk: Talk) -> None:
        await greet(talk)
        await talk.tell(message_event("c1", "m1"), message_event("c1", "m1"))
        await talk.stay()

    async with scripted_server(script) as server, PlainClient(server.address, "ann", token) as client:
        await client.until_events(2)
        assert once_violations(client.ledger.events) == ["cursor c1 2 times", "message ('ann', 'm1') 2 times"]


@pytest.mark.parametrize("transport", ["connect", "subscribe"])
async def test_it_resumes_from_the_last_cursor_moved(transport: str) -> None:
    """Event, gap, resumed and checkpoint move its cursor, Accepted and GoAway do not; each stream starts there (R10)."""
    hellos: list[str] = []

    def script(*updates: messaging.Update) -> object:
        async def play(talk: Talk) -> None:
            hellos.append((await talk.hello()).resume_after)
            await talk.welcome()
            await talk.tell(*updates)

        return play

    checkpoint = messaging.Update(checkpoint=messaging.Checkpoint(cursor="c2"))
    gap = messaging.Update(gap=messaging.Gap(after="c2", until="c3"))
    resumed = messaging.Update(resumed=messaging.Resumed(cursor="c4"))
    stay = messaging.Update(go_away=messaging.GoAway())
    scripts = [
        script(message_event("c1", "m1")),
        script(checkpoint),
        script(gap),
        script(resumed),
        script(stay),
    ]

    async def last(talk: Talk) -> None:
        hellos.append((await talk.hello()).resume_after)
        await talk.welcome()
        await talk.stay()

    async with (
        scripted_server(*scripts, last) as server,  # type: ignore[arg-type]
        PlainClient(server.address, "ann", token, transport=transport) as client,
    ):
        await client.until(lambda: len(hellos) == 6, "six streams")
        assert hellos == ["", "c1", "c2", "c3", "c4", "c4"]
        opened = [step.resume_after for step in client.ledger.steps if isinstance(step, Opened)]
        assert opened == hellos
        assert client.endings == [grpc.StatusCode.UNAVAILABLE] * 5


async def test_it_tries_again_with_the_same_id() -> None:
    """A command whose stream ended before its outcome is sent again, whole, with the same message_id, in order."""
    seen: list[list[str]] = [[], []]

    async def breaks(talk: Talk) -> None:
        await greet(talk)
        for _ in range(2):
            seen[0].append((await talk.command()).send_message.message_id)

    async def accepts(talk: Talk) -> None:
        await greet(talk)
        for _ in range(2):
            command = await talk.command()
            seen[1].append(command.send_message.message_id)
            await talk.accept(command)
        await talk.stay()

    async with (
        scripted_server(breaks, accepts) as server,
        PlainClient(server.address, "ann", token) as client,
    ):
        first, second = client.submit(text_message("1", ["bob"])), client.submit(text_message("2", ["bob"]))
        await client.settle(first, second)
        assert seen[0] == seen[1] == [first.id, second.id]
        assert first.tries == 2
        assert not first.found
        assert client.strays == []


@pytest.mark.parametrize("landed", [True, False])
async def test_beyond_the_retry_window_it_looks_first(landed: bool) -> None:
    """Too old to be tried blindly: it resumes to `resumed`; its message is there and settled, or is sent anew (R3)."""
    order: list[str] = []

    async def breaks(talk: Talk) -> None:
        await talk.hello()
        await talk.welcome(retry_window_s=0)
        await talk.command()

    async def resumes(talk: Talk) -> None:
        await talk.hello()
        await talk.welcome()
        if landed:
            await talk.tell(message_event("c1", "m1"))
        order.append("resumed")
        await talk.resumed("c1")
        command = await talk.command()
        order.append(command.send_message.message_id)
        await talk.accept(command)
        await talk.stay()

    async with (
        scripted_server(breaks, resumes) as server,
        PlainClient(server.address, "ann", token) as client,
    ):
        submission = await client.do(text_message("1", ["bob"], "m1"))
        await client.done(text_message("2", ["bob"], "m2")) if landed else None
        assert submission.accepted
        assert submission.found is landed
        assert order == ["resumed", "m2" if landed else "m1"]


async def test_what_was_accepted_and_not_shown_is_waited_for() -> None:
    """The next server learns its time by showing it before `resumed`: nothing is sent until then (I12)."""
    order: list[str] = []

    async def accepts(talk: Talk) -> None:
        await greet(talk)
        await talk.accept(await talk.command())

    async def shows(talk: Talk) -> None:
        await greet(talk)
        waits = asyncio.ensure_future(talk.command())
        await asyncio.wait((waits,), timeout=0.3)
        order.append("early" if waits.done() else "resumed")
        await talk.tell(message_event("c1", "m1"))
        await talk.resumed("c1")
        command = await waits
        order.append(command.send_message.message_id)
        await talk.accept(command)
        await talk.stay()

    async with (
        scripted_server(accepts, shows) as server,
        PlainClient(server.address, "ann", token) as client,
    ):
        await client.done(text_message("1", ["bob"], "m1"))
        await client.done(text_message("2", ["bob"], "m2"))
        assert order == ["resumed", "m2"]


async def test_it_keeps_to_hints_and_takes_certain_refusals() -> None:
    """UNKNOWN and retry_after are tried again with the same id; NOT_DONE without a hint is final; strays are kept."""

    def refusal(
        command: messaging.Command, outcome: messaging.RejectedOutcome, retry_s: int = 0
    ) -> messaging.Update:
        rejected = messaging.Rejected(command_id=command.command_id, outcome=outcome)
        if retry_s:
            rejected.retry_after.FromMilliseconds(retry_s)
        return messaging.Update(rejected=rejected)

    async def script(talk: Talk) -> None:
        await greet(talk)
        await talk.tell(refusal(await talk.command(), messaging.REJECTED_OUTCOME_UNKNOWN))
        await talk.tell(refusal(await talk.command(), messaging.REJECTED_OUTCOME_NOT_DONE, 1))
        last = await talk.command()
        await talk.tell(refusal(last, messaging.REJECTED_OUTCOME_NOT_DONE))
        await talk.accept(last)
        await talk.stay()

    async with scripted_server(script) as server, PlainClient(server.address, "ann", token) as client:
        submission = await client.do(text_message("1", ["bob"]))
        assert submission.tries == 3
        assert submission.rejected is not None
        assert not submission.accepted
        await client.until(lambda: bool(client.strays), "the second outcome")


async def test_it_keeps_to_the_limits_of_welcome() -> None:
    """Never more commands in flight than Welcome says."""

    async def script(talk: Talk) -> None:
        await talk.hello()
        await talk.welcome(max_in_flight=2)
        first, second = await talk.command(), await talk.command()
        assert talk._commands == []
        await talk.accept(first)
        await talk.accept(second)
        await talk.accept(await talk.command())
        await talk.stay()

    async with scripted_server(script) as server, PlainClient(server.address, "ann", token) as client:
        await client.settle(*[client.submit(text_message(str(n), ["bob"])) for n in range(3)])


async def test_it_sends_by_execute_where_it_subscribes() -> None:
    """A client without a Connect stream sends by Execute and settles by its outcomes."""

    async def script(talk: Talk) -> None:
        await greet(talk)
        await talk.stay()

    async with (
        scripted_server(script) as server,
        PlainClient(server.address, "ann", token, transport="subscribe") as client,
    ):
        submission = await client.done(text_message("1", ["bob"]))
        assert [command.send_message.message_id for command in server.executed] == [submission.id]
