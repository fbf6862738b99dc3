"""Who takes part in a conversation: a bounded memory in front of the registry behind history.

A conversation that is remembered here is registered. One that is not is looked up, or registered where the command names
its participants (their hash proves them), one request under way for each conversation.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.events import HistoryUnavailable
from messaging_core.refusals import Refused
from messaging_server.commands import Prepared
from messaging_server.content import invalid
from messaging_server.ports import ConversationRegistry

_NAMES_A_MESSAGE: dict[int, str] = {
    log.EVENT_KIND_MESSAGE: "reply_to",
    log.EVENT_KIND_REACTION_CHANGED: "message",
    log.EVENT_KIND_RECEIVED_MARK: "through",
    log.EVENT_KIND_READ_MARK: "through",
}
"""The field by which a command names a message, by its cell.log.v1.EventKind."""

Found = tuple[str, ...] | Refused
"""The participants, in byte order, or why they are not to be had."""


def not_found() -> Refused:
    """The same for a conversation that does not exist and one that this user is not in."""
    return Refused(
        messaging.REJECTED_REASON_NOT_FOUND, "there is no such conversation that this user may see"
    )


def unavailable() -> Refused:
    """History did not answer; the command has not been appended."""
    return Refused(messaging.REJECTED_REASON_UNAVAILABLE, "the registry of conversations is away")


def admitted(prepared: Prepared, found: Found) -> tuple[str, ...]:
    """The participants, if this command may be told to them. Raises Refused."""
    if isinstance(found, Refused):
        raise found
    for user_id in prepared.named:
        if user_id not in found:
            raise not_found() if user_id == prepared.sender_id else _of_no_participant(prepared.kind)
    return found


def _of_no_participant(kind: int) -> Refused:
    """A message that is named is none of the conversation's; told only to its participants, who know one another."""
    return invalid(f"{_NAMES_A_MESSAGE[kind]}.sender_id", "this user does not take part in the conversation")


class KnownConversations:
    """Participants of conversations known to be registered, as many as `bound` user ids; the unused go first."""

    __slots__ = ("_bound", "_conversations", "_ids")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._ids = 0
        self._conversations: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    def get(self, conversation_id: str) -> tuple[str, ...] | None:
        """The participants if they are remembered."""
        participants = self._conversations.get(conversation_id)
        if participants is not None:
            self._conversations.move_to_end(conversation_id)
        return participants

    def add(self, conversation_id: str, participants: tuple[str, ...]) -> None:
        """Remember them."""
        previous = self._conversations.pop(conversation_id, ())
        self._conversations[conversation_id] = participants
        self._ids += len(participants) - len(previous)
        while self._ids > self._bound and len(self._conversations) > 1:
            _, oldest = self._conversations.popitem(last=False)
            self._ids -= len(oldest)

    def __len__(self) -> int:
        return len(self._conversations)


class _Request(NamedTuple):
    """What is asked of the registry: to register these participants, or to tell them if there are none here."""

    conversation_id: str
    participants: tuple[str, ...] | None


class Conversations:
    """Answers from memory, else asks the registry and calls back."""

    def __init__(
        self, registry: ConversationRegistry, *, bound: int, at_a_time: int, patience_s: float
    ) -> None:
        self._registry = registry
        self._known = KnownConversations(bound)
        self._at_a_time = asyncio.Semaphore(at_a_time)
        self._patience_s = patience_s
        self._waiting: dict[_Request, list[Callable[[Found], None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def known(self, prepared: Prepared) -> tuple[str, ...] | None:
        """The participants if the conversation is known to be registered, and the sender is one of them.

        To others it is as little known as one that does not exist: the registry is asked, and answers alike, or not at all.
        """
        participants = self._known.get(prepared.conversation_id)
        return participants if participants and prepared.sender_id in participants else None

    def find(self, prepared: Prepared, then: Callable[[Found], None]) -> None:
        """Ask for them, or register those that the command names; `then` is called later, never from within."""
        request = _Request(prepared.conversation_id, prepared.participants)
        waiting = self._waiting.get(request)
        if waiting is not None:
            waiting.append(then)
            return
        self._waiting[request] = [then]
        task = asyncio.get_running_loop().create_task(self._ask(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop asking; what waits is refused."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, request: _Request) -> None:
        found: Found = unavailable()
        try:
            async with asyncio.timeout(self._patience_s), self._at_a_time:
                found = await self._answer(request)
        except (HistoryUnavailable, TimeoutError):
            pass
        finally:
            for then in self._waiting.pop(request):
                then(found)

    async def _answer(self, request: _Request) -> Found:
        participants = request.participants
        if participants is not None:
            await self._registry.register(request.conversation_id, participants)
        else:
            participants = await self._registry.participants(request.conversation_id)
        if participants is None:
            return not_found()
        self._known.add(request.conversation_id, participants)
        return participants
