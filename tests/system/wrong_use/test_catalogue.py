"""Each wrong input of the catalogue, each way in which it can be said: its answer, and nothing but the answer.

The stream beside it, or the same one where the fault is one command's, goes on; what is refused is nowhere.
"""

from collections.abc import Awaitable
from typing import Any

import grpc
import pytest

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from check.history_pages import events_at_least
from check.ledger import message_ids
from check.plain_client import PlainClient
from check.plain_outbox import text_message
from tests.support.errors_document import DOCUMENT
from tests.system.cell_process import CellProcess
from tests.system.conftest import Connect
from tests.system.raw_stream import Metadata, say
from tests.system.wrong_use.calls import WrongCall
from tests.system.wrong_use.catalogue import GROUPS, Row, tables
from tests.system.wrong_use.commands import PEER, Caller, WrongCommand
from tests.system.wrong_use.frames import WrongFrame
from tests.system.wrong_use.situations import Situation
from tests.system.wrong_use.tokens import WrongToken, signed

pytestmark = pytest.mark.timeout(180)

CASES = [
    pytest.param(row, way, id=f"{row.what}-{way}")
    for rows in GROUPS.values()
    for row in rows
    if not isinstance(row, Situation)
    for way in row.ways
]
SERVICE = "/cell.messaging.v1.MessagingService/"
RIGHT: dict[str, str] = {}
"""The one message that each user sent beside what was wrong: user id to message id."""


@pytest.mark.parametrize(("row", "way"), CASES)
async def test_a_wrong_input_has_its_answer(
    cell: CellProcess, connect: Connect, caller: Caller, row: Row, way: str
) -> None:
    """Reason, field, limit, status, outcome and hint are those of the catalogue; a right message behind it is done."""
    async with connect(caller.user_id) as client:
        if isinstance(row, WrongCommand):
            await _say_command(client, caller, row, way)
        elif isinstance(row, WrongFrame):
            await _say_frames(cell, client, caller, row, way)
        elif isinstance(row, WrongCall):
            await _say_call(client, caller, row)
        else:
            assert isinstance(row, WrongToken)
            await _say_token(cell, client, row, way)
        right = await client.send("right", [PEER])
        RIGHT[caller.user_id] = right.ref.message_id
        assert client.ledger.names == {(caller.user_id, right.ref.message_id)}
        assert len(client.ledger.events) == 1
        assert (client.streams, client.strays, client.conflicts) == (1, [], [])


async def test_what_was_refused_is_nowhere_and_the_rest_is_there(connect: Connect) -> None:
    """After all of them each user's history, and the stream of whom they wrote to, have the right messages and no other."""
    async with connect(PEER) as peer:
        await peer.until_resumed()
        await peer.until_events(len(RIGHT))
        assert sorted(message_ids(peer.ledger.events)) == sorted(RIGHT.values())
        assert len(peer.ledger.events) == len(RIGHT)
        for user_id, message_id in RIGHT.items():
            client = PlainClient("", user_id, signed)
            client.history = peer.history
            events = await events_at_least(client, 1)
            assert message_ids(events) == [message_id]
            assert len(events) == 1
            await client.channel.close()


def test_the_documentation_shows_the_catalogue() -> None:
    """docs/errors.md has the tables that `python -m tests.system.wrong_use.catalogue` writes."""
    assert "\n".join(tables()).strip() in DOCUMENT.read_text()


async def _say_command(client: PlainClient, caller: Caller, row: WrongCommand, way: str) -> None:
    assert client.welcome is not None
    command, limits = row.make(caller), client.welcome.limits
    if way == "Connect":
        submission = await client.do(command)
        assert submission.rejected is not None
        row.answer.check_rejected(submission.rejected, limits)
        assert submission.rejected.message_id == (submission.id if len(submission.id) <= 64 else "")
    elif way == "Execute":
        command.command_id = 1
        request = messaging.ExecuteRequest(commands=[command, messaging.Command(command_id=2, ping={})])
        response = await client.messaging.Execute(request, metadata=client.metadata)
        wrong, right = response.outcomes
        (row.in_execute or row.answer).check_rejected(wrong.rejected, limits)
        assert right.pong.command_id == 2
    else:
        send = messaging.SendMessageRequest(
            send_message=command.send_message, traceparent=command.traceparent
        )
        error = await _refused(client.messaging.SendMessage(send, metadata=client.metadata))
        row.answer.check_error(error, limits)


async def _say_frames(
    cell: CellProcess, client: PlainClient, caller: Caller, row: WrongFrame, way: str
) -> None:
    assert client.welcome is not None
    frames, limits = row.frames(caller), client.welcome.limits
    if way == "Connect":
        heard = await say(cell.address, client.metadata, *frames, done=False)
        row.answer.check_end(heard.code, heard.details, heard.trailing, limits)
        assert heard.of("accepted") == []
    elif way == "Subscribe":
        (command,) = messaging.ConnectRequest.FromString(frames[-1]).commands
        request = messaging.SubscribeRequest()
        if command.HasField("hello"):
            request.hello.CopyFrom(command.hello)
        error = await _refused(_read_all(client.messaging.Subscribe(request, metadata=client.metadata)))
        row.answer.check_end(error.code(), error.details() or "", error.trailing_metadata() or (), limits)
    else:
        call: Any = client.channel.unary_unary(SERVICE + way)
        row.answer.check_error(await _refused(call(frames[-1], metadata=client.metadata)), limits)


async def _say_call(client: PlainClient, caller: Caller, row: WrongCall) -> None:
    call: Any = client.channel.unary_unary(f"/cell.history.v1.HistoryService/{row.method}")
    request = row.make(caller)
    assert client.welcome is not None
    error = await _refused(call(request, metadata=client.metadata))
    row.answer.check_error(error, client.welcome.limits)


async def _say_token(cell: CellProcess, client: PlainClient, row: WrongToken, way: str) -> None:
    metadata = row.metadata(client.user_id)
    if way == "Connect":
        heard = await say(cell.address, metadata, done=False)
        row.answer.check_end(heard.code, heard.details, heard.trailing)
        assert heard.updates == []
        return
    for call in _calls(client, metadata, way):
        error = await _refused(call)
        row.answer.check_error(error)
        for _, value in metadata:
            assert len(value) < 20 or value[-20:] not in (error.details() or "")


def _calls(client: PlainClient, metadata: Metadata, way: str) -> list[Awaitable[object]]:
    send = text_message("not done", [PEER])
    if way == "Subscribe":
        request = messaging.SubscribeRequest(hello=messaging.Hello())
        return [client.messaging.Subscribe(request, metadata=metadata).read()]
    if way == "Execute":
        return [client.messaging.Execute(messaging.ExecuteRequest(commands=[send]), metadata=metadata)]
    if way == "SendMessage":
        request_ = messaging.SendMessageRequest(send_message=send.send_message)
        return [client.messaging.SendMessage(request_, metadata=metadata)]
    stub = client.history
    return [
        stub.ListMessages(history.ListMessagesRequest(), metadata=metadata),
        stub.GetMessages(history.GetMessagesRequest(), metadata=metadata),
        stub.ListConversations(history.ListConversationsRequest(), metadata=metadata),
        stub.GetConversation(history.GetConversationRequest(), metadata=metadata),
        stub.ListEvents(history.ListEventsRequest(), metadata=metadata),
    ]


async def _read_all(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def _refused(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value
