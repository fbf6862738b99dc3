import asyncio

import pytest

from cell.messaging.v1 import messaging_pb2 as m
from messaging_core.events import HistoryUnavailable
from messaging_core.ids import conversation_id
from messaging_core.limits import Limits
from messaging_core.refusals import Refused
from messaging_server.commands import Prepared, prepare
from messaging_server.conversations import Conversations, Found, KnownConversations, admitted, not_found
from tests.messaging_server.memory_cell import text_message

AB = conversation_id(["alice", "bob"])


class Registry:
    def __init__(self) -> None:
        self.known: dict[str, tuple[str, ...]] = {}
        self.calls: list[str] = []
        self.gate = asyncio.Event()
        self.away = False

    async def participants(self, conversation_id: str) -> tuple[str, ...] | None:
        await self._answer("look up")
        return self.known.get(conversation_id)

    async def register(self, conversation_id: str, participants: tuple[str, ...]) -> None:
        await self._answer("register")
        self.known[conversation_id] = participants

    async def _answer(self, call: str) -> None:
        self.calls.append(call)
        await self.gate.wait()
        if self.away:
            raise HistoryUnavailable


def named(to: str = "bob") -> Prepared:
    return prepare(text_message(to, "x", "m"), "alice", Limits(), lambda time: True)


def by_id(sender: str = "alice", answers: str = "") -> Prepared:
    send = m.SendMessage(message_id="m", conversation_id=AB, content=m.Content(text="x"))
    if answers:
        send.reply_to.CopyFrom(ref_of(answers))
    return prepare(m.Command(send_message=send), sender, Limits(), lambda time: True)


def ref_of(sender: str) -> m.MessageRef:
    ref = m.MessageRef(conversation_id=AB, sender_id=sender, message_id="m")
    ref.sent_at.FromSeconds(1)
    return ref


def front(registry: Registry, **changes: float) -> Conversations:
    return Conversations(registry, bound=100, at_a_time=2, patience_s=changes.get("patience_s", 5.0))


async def ask(conversations: Conversations, prepared: Prepared) -> "asyncio.Future[Found]":
    answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
    conversations.find(prepared, answer.set_result)
    return answer


async def test_a_conversation_is_registered_once_and_then_known() -> None:
    """Those who ask while it is under way share it; afterwards it is answered from memory."""
    registry = Registry()
    conversations = front(registry)
    assert conversations.known(named()) is None
    answers = [await ask(conversations, named()) for _ in range(3)]
    registry.gate.set()
    assert [await answer for answer in answers] == [("alice", "bob")] * 3
    assert registry.calls == ["register"]
    assert conversations.known(by_id()) == ("alice", "bob")


async def test_a_conversation_named_by_id_is_looked_up() -> None:
    """A look-up does not stand in for a registration; one that finds nothing is NOT_FOUND and not remembered."""
    registry = Registry()
    conversations = front(registry)
    registry.gate.set()
    missing = await (await ask(conversations, by_id()))
    assert isinstance(missing, Refused)
    assert missing.reason == m.REJECTED_REASON_NOT_FOUND
    assert await (await ask(conversations, named())) == ("alice", "bob")
    assert registry.calls == ["look up", "register"]


async def test_to_an_outsider_a_known_conversation_is_as_little_known_as_one_that_is_none() -> None:
    """The registry is asked either way, so that neither the answer nor its absence while it is away tells them apart."""
    registry = Registry()
    registry.gate.set()
    conversations = front(registry)
    await (await ask(conversations, named()))
    assert conversations.known(by_id()) == ("alice", "bob")
    assert conversations.known(by_id("eve")) is None
    found = await (await ask(conversations, by_id("eve")))
    with pytest.raises(Refused) as refused:
        admitted(by_id("eve"), found)
    assert (refused.value.reason, refused.value.detail) == (not_found().reason, not_found().detail)


def test_a_message_of_no_participant_is_a_wrong_field() -> None:
    """A participant is told which field names a user who does not take part; an outsider is told nothing of that."""
    mark = m.MarkRead(through=ref_of("eve"))
    react = m.React(reaction_id="r", message=ref_of("eve"), key="x")
    for prepared, field in (
        (by_id(answers="eve"), "reply_to.sender_id"),
        (prepare(m.Command(react=react), "alice", Limits(), lambda time: True), "message.sender_id"),
        (prepare(m.Command(mark_read=mark), "alice", Limits(), lambda time: True), "through.sender_id"),
    ):
        with pytest.raises(Refused) as refused:
            admitted(prepared, ("alice", "bob"))
        assert (refused.value.reason, refused.value.field) == (m.REJECTED_REASON_INVALID_FIELD, field)
    with pytest.raises(Refused) as refused:
        admitted(by_id("eve", answers="eve"), ("alice", "bob"))
    assert refused.value.reason == m.REJECTED_REASON_NOT_FOUND
    assert admitted(by_id(answers="bob"), ("alice", "bob")) == ("alice", "bob")


async def test_a_registry_that_is_away_or_slow_is_unavailable() -> None:
    """Neither an error nor silence is remembered; the next command asks again."""
    registry = Registry()
    conversations = front(registry, patience_s=0.05)
    slow = await (await ask(conversations, named()))
    registry.gate.set()
    registry.away = True
    away = await (await ask(conversations, named()))
    for found in (slow, away):
        assert isinstance(found, Refused)
        assert found.reason == m.REJECTED_REASON_UNAVAILABLE
    registry.away = False
    assert await (await ask(conversations, named())) == ("alice", "bob")


async def test_closing_refuses_what_waits() -> None:
    """Nothing waits for ever."""
    conversations = front(Registry())
    answer = await ask(conversations, named())
    await asyncio.sleep(0)
    await conversations.close()
    assert isinstance(await answer, Refused)


def test_the_memory_is_bounded_in_user_ids() -> None:
    """The conversations unused for longest go first."""
    known = KnownConversations(10)
    for n in range(5):
        known.add(str(n), ("a", "b", "c"))
        known.get("0")
    assert len(known) == 3
    assert known.get("0") is not None
    known.add("room", tuple(map(str, range(1_000))))
    assert len(known) == 1
