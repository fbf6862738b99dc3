"""No answer tells whether something exists that the caller may not see: it is that for what is not there, byte for byte."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from check.calls import eventually
from check.history_pages import by_id, events_at_least, messages_at_least, with_users
from check.ledger import message_ids
from check.plain_client import PlainClient
from check.plain_outbox import new_id
from messaging_core.ids import conversation_id
from tests.system.conftest import Connect
from tests.system.wrong_use.commands import message

pytestmark = pytest.mark.timeout(180)

WAYS = ["Connect", "Execute", "SendMessage"]
IN, PARTNER = "in1", "in2"
HIDDEN = conversation_id([IN, PARTNER])
NOWHERE = conversation_id([IN, "nobody-ever-wrote-to-this-user"])
Ref = messaging.MessageRef
Ask = Callable[[PlainClient, Ref], Awaitable[object]]


def _to(at: Ref) -> messaging.Command:
    return message(message_id="a", recipients=None, conversation_id=at.conversation_id)


def _reply(at: Ref) -> messaging.Command:
    return message(message_id="b", recipients=None, conversation_id=at.conversation_id, reply_to=at)


def _partners(at: Ref) -> messaging.Recipients:
    return messaging.Recipients(user_ids=[IN, PARTNER])


COMMANDS: dict[str, Callable[[Ref], messaging.Command]] = {
    "message": _to,
    "reply": _reply,
    "react": lambda at: messaging.Command(react=messaging.React(reaction_id="c", message=at, key="x")),
    "unreact": lambda at: messaging.Command(unreact=messaging.Unreact(reaction_id="d", message=at, key="x")),
    "mark read": lambda at: messaging.Command(mark_read=messaging.MarkRead(through=at)),
    "mark received": lambda at: messaging.Command(mark_received=messaging.MarkReceived(through=at)),
    "react, naming who takes part": lambda at: messaging.Command(
        react=messaging.React(reaction_id="e", message=at, key="x", participants=_partners(at))
    ),
    "mark read, naming who takes part": lambda at: messaging.Command(
        mark_read=messaging.MarkRead(through=at, participants=_partners(at))
    ),
}
QUESTIONS: dict[str, Callable[[Ref], tuple[str, Any]]] = {
    "ListMessages": lambda at: (
        "ListMessages",
        history.ListMessagesRequest(conversation=by_id(at.conversation_id)),
    ),
    "ListMessages around a message": lambda at: (
        "ListMessages",
        history.ListMessagesRequest(
            conversation=by_id(at.conversation_id), direction=history.DIRECTION_AROUND, message=at
        ),
    ),
    "GetConversation": lambda at: (
        "GetConversation",
        history.GetConversationRequest(conversation=by_id(at.conversation_id)),
    ),
    "GetMessages": lambda at: ("GetMessages", history.GetMessagesRequest(messages=[at])),
}


class Hidden:
    """A conversation with a message, two users who see it, and one who does not."""

    def __init__(
        self, ann: PlainClient, bob: PlainClient, eve: PlainClient, secret: messaging.Message
    ) -> None:
        self.ann, self.bob, self.eve = ann, bob, eve
        self.secret = secret

    def names(self) -> Sequence[Ref]:
        """A message of it, one that nobody sent there, and one of a conversation that is none."""
        no_message, no_conversation = Ref(), Ref()
        no_message.CopyFrom(self.secret.ref)
        no_message.message_id = "nothing"
        no_conversation.CopyFrom(self.secret.ref)
        no_conversation.conversation_id = NOWHERE
        return self.secret.ref, no_message, no_conversation


async def hidden(connect: Connect, stack: AsyncExitStack) -> Hidden:
    """Write the message, and wait until everything that could tell of it knows of it."""
    clients = [connect(name, resume_after=None) for name in (IN, PARTNER, "eve")]
    ann, bob, eve = [await stack.enter_async_context(client) for client in clients]
    for client in clients:
        await client.until_resumed()
    secret = await ann.send("secret", [PARTNER])
    await bob.message(IN, secret.ref.message_id)
    await bob.done(
        messaging.Command(react=messaging.React(reaction_id=new_id(), message=secret.ref, key="x"))
    )
    await bob.done(messaging.Command(mark_read=messaging.MarkRead(through=secret.ref)))
    await bob.until_events(3)
    await eventually(lambda: _is_stored(bob, secret), "the message in history")
    return Hidden(ann, bob, eve, secret)


async def _is_stored(client: PlainClient, secret: messaging.Message) -> bool:
    request = history.GetMessagesRequest(messages=[secret.ref])
    found = await client.history.GetMessages(request, metadata=client.metadata)
    return bool(found.messages and found.messages[0].reactions)


async def outcome(client: PlainClient, command: messaging.Command, way: str) -> bytes:
    """The whole answer, but for the number of the command."""
    if way == "SendMessage":
        request = messaging.SendMessageRequest(send_message=command.send_message)
        return await _failure(client.messaging.SendMessage(request, metadata=client.metadata))
    if way == "Execute":
        command.command_id = 1
        request_ = messaging.ExecuteRequest(commands=[command])
        response = await client.messaging.Execute(request_, metadata=client.metadata)
        return bytes(response.SerializeToString())
    rejected = (await client.do(command)).rejected
    assert rejected is not None
    rejected.command_id = 0
    return rejected.SerializeToString()


async def _failure(call: Awaitable[object]) -> bytes:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    return repr((error.code(), error.details(), tuple(error.trailing_metadata() or ()))).encode()


async def answer(client: PlainClient, question: tuple[str, Any]) -> bytes:
    """The whole answer of history, well or not."""
    method, request = question
    call = getattr(client.history, method)(request, metadata=client.metadata)
    try:
        return bytes((await call).SerializeToString())
    except grpc.aio.AioRpcError:
        return await _failure(call)


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        (kind, way)
        for kind in COMMANDS
        for way in WAYS
        if way != "SendMessage" or kind in ("message", "reply")
    ],
)
async def test_commands_tell_nothing_of_what_is_not_the_callers(
    connect: Connect, kind: str, way: str
) -> None:
    """A conversation that exists, a message there that does not, and a conversation that does not: one answer."""
    async with AsyncExitStack() as stack:
        scene = await hidden(connect, stack)
        answers = {await outcome(scene.eve, COMMANDS[kind](at), way) for at in scene.names()}
        assert len(answers) == 1
        events = len(scene.bob.ledger.events)
        fence = await scene.ann.send("fence", [PARTNER])
        await scene.bob.message(IN, fence.ref.message_id)
        assert len(scene.bob.ledger.events) == events + 1
        assert scene.eve.ledger.events == []


@pytest.mark.parametrize("kind", QUESTIONS)
async def test_history_tells_nothing_of_what_is_not_the_callers(connect: Connect, kind: str) -> None:
    """A conversation that exists, a message there that does not, and a conversation that does not: one answer."""
    async with AsyncExitStack() as stack:
        scene = await hidden(connect, stack)
        answers = {await answer(scene.eve, QUESTIONS[kind](at)) for at in scene.names()}
        assert len(answers) == 1
        own = await answer(scene.bob, QUESTIONS[kind](scene.secret.ref))
        assert own not in answers


async def test_page_tokens_and_cursors_of_another_user_are_garbage(connect: Connect) -> None:
    """The token of a page, or the cursor, that another user was given is answered as what nobody was given."""
    async with AsyncExitStack() as stack:
        scene = await hidden(connect, stack)
        await scene.ann.send("and another, so that there is a next page", [PARTNER])
        await scene.ann.send("and another conversation", ["in3"])
        await messages_at_least(scene.ann, with_users("in3"), 1)
        name = by_id(HIDDEN)
        page = await scene.ann.history.ListMessages(
            history.ListMessagesRequest(conversation=name, page_size=1), metadata=scene.ann.metadata
        )
        listing = await scene.ann.history.ListConversations(
            history.ListConversationsRequest(page_size=1), metadata=scene.ann.metadata
        )
        tokens = (page.older_page_token, page.newer_page_token, listing.next_page_token)
        assert all(tokens)
        for conversation in (name, by_id(NOWHERE)):
            told = {
                await answer(
                    scene.eve,
                    (
                        "ListMessages",
                        history.ListMessagesRequest(conversation=conversation, page_token=given),
                    ),
                )
                for given in (*tokens, "garbage")
            }
            assert len(told) == 1
        told = {
            await answer(scene.eve, ("ListConversations", history.ListConversationsRequest(page_token=given)))
            for given in (*tokens, "garbage")
        }
        assert len(told) == 1


async def test_ids_and_names_of_others_are_free(connect: Connect) -> None:
    """The id of another user's message is no conflict; what others have named leaves no trace in one's own answers."""
    async with AsyncExitStack() as stack:
        scene = await hidden(connect, stack)
        own = await scene.eve.send("mine", ["eve"], scene.secret.ref.message_id)
        assert message_ids(await events_at_least(scene.eve, 1))[-1:] == [own.ref.message_id]
        found = await scene.eve.history.GetMessages(
            history.GetMessagesRequest(messages=[scene.secret.ref, own.ref]), metadata=scene.eve.metadata
        )
        assert [each.message for each in found.messages] == [own]
