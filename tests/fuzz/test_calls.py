"""Calls that ask once: commands without a stream, and streams of updates alone."""

import grpc
from google.rpc import error_details_pb2, status_pb2
from hypothesis import strategies as st

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.refusals import RULES, reason_name
from tests.fuzz.cell import Call, moment, run, running_cell
from tests.fuzz.commands import COMMANDS, HELLOS, Client
from tests.fuzz.strategies import (
    GOOD_SENDS,
    SENDS,
    TEXT,
    a,
    encodings,
    maybe,
)
from tests.fuzz.stream import BY_HELLO
from tests.fuzz.subjects import subject

REASONS = {reason_name(reason): rule.status for reason, rule in RULES.items()}


def refusal_of(call: Call) -> error_details_pb2.ErrorInfo:
    """Why a call was refused: its status, and details that say the same."""
    (details,) = [value for key, value in call.trailers if key == "grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details)
    assert call.status is not None
    assert (status.code, status.message) == (call.status.value[0], call.detail)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert len(details) < 4_096, "metadata has 8 KB"
    return info


REQUESTS = encodings(
    st.builds(
        lambda made: messaging.ExecuteRequest(commands=map(Client().command, made)),
        st.lists(COMMANDS, max_size=5),
    )
)


@subject(share=12, short=50, data=REQUESTS)
def test_execute(data: bytes) -> None:
    """Whatever is asked: one outcome a command, in order, or a refusal by name."""
    run(_execute(data))


async def _execute(data: bytes) -> None:
    async with running_cell() as cell:
        call = Call()
        call.serve(cell.servicer.execute(data, call))
        await moment(20.0)
        answer = await call.answer()
        if answer is None:
            assert REASONS[refusal_of(call).reason] is call.status is grpc.StatusCode.INVALID_ARGUMENT
            return
        commands = messaging.ExecuteRequest.FromString(data).commands
        outcomes = messaging.ExecuteResponse.FromString(answer).outcomes
        told = [getattr(outcome, outcome.WhichOneof("outcome") or "") for outcome in outcomes]
        assert [outcome.command_id for outcome in told] == [command.command_id for command in commands]
        accepted = {
            c.send_message.message_id
            for c, o in zip(commands, outcomes, strict=True)
            if o.HasField("accepted")
        } - {""}
        assert accepted == {reading.origin.command_id for reading in cell.effective()}


@subject(
    share=12,
    short=50,
    data=encodings(a(messaging.SendMessageRequest, send_message=maybe(SENDS | GOOD_SENDS), traceparent=TEXT)),
    token=st.sampled_from(("ann", "ann", "ann", "bad", None, "a b", "é", "~" * 256)),
)
def test_send_message(data: bytes, token: str | None) -> None:
    """Whatever is sent, by whomever: it is there and named, or it is not and the refusal has a name."""
    run(_send_message(data, token))


async def _send_message(data: bytes, token: str | None) -> None:
    async with running_cell() as cell:
        call = Call(token)
        call.serve(cell.servicer.send_message(data, call))
        await moment(20.0)
        answer = await call.answer()
        there = [reading.event.message for reading in cell.effective()]
        if answer is None:
            assert REASONS[refusal_of(call).reason] is call.status
            assert not there
            return
        (message,) = there
        asked = messaging.SendMessageRequest.FromString(data).send_message
        assert message.ref == messaging.SendMessageResponse.FromString(answer).message
        assert message.content == asked.content


@subject(share=6, short=50, data=encodings(a(messaging.SubscribeRequest, hello=maybe(HELLOS))))
def test_subscribe(data: bytes) -> None:
    """Whatever opens a stream of updates: it is opened and all that was missed comes, or it ends by name."""
    run(_subscribe(data))


async def _subscribe(data: bytes) -> None:
    async with running_cell() as cell:
        call = Call()
        call.serve(cell.servicer.subscribe(data, call))
        await moment(3.0)
        assert call.failure() is None
        if call.status is not None:
            assert call.status in (*BY_HELLO, grpc.StatusCode.FAILED_PRECONDITION)
            assert not any(update.HasField("resumed") for update in call.updates())
            return
        kinds = [update.WhichOneof("update") for update in call.updates()]
        assert kinds[:2] == ["welcome", "resumed"]
