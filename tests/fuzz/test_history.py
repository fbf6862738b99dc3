"""Questions to history."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from hypothesis import strategies as st

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from history_service import embedded_reads as reads
from history_service.api import HistoryApi
from history_service.embedded_file import _SCHEMA
from history_service.embedded_writes import ADD_CONVERSATION, write
from history_service.paging import ConversationsPlace, MessagesPlace, conversations_token, messages_token
from history_service.port import (
    Batch,
    Cut,
    EventsAsked,
    EventsFound,
    HistoryStore,
    MessageKey,
    Overview,
    Page,
    Persisted,
    StoredMessage,
)
from history_service.settings import HistorySettings
from messaging_core.ids import conversation_id
from messaging_core.limits import Limits
from tests.fuzz.cell import Call, moment, run
from tests.fuzz.strategies import (
    CONVERSATION_ID,
    CURSOR_TEXT,
    GOOD_REFS,
    INCARNATION,
    INT32,
    INT64,
    RECIPIENTS,
    REFS,
    TEXT,
    TIMES,
    USER_ID,
    USERS,
    a,
    encodings,
    maybe,
)
from tests.fuzz.subjects import subject
from tests.fuzz.test_calls import REASONS, refusal_of
from tests.history_service.written import WrittenLog
from tests.messaging_server.memory_log import MemoryLog

MADE = WrittenLog(1)
_REFS = [
    MADE.message(user, USERS[:2], f"m{number}", 1_000_000 * number)
    for number, user in enumerate(("ann", "bob", "ann"), 1)
]
MADE.message("cy", ["cy"], "m9", 5)
MADE.reaction("bob", USERS[:2], _REFS[0], "+", False, "r1")
MADE.read_mark("bob", USERS[:2], _REFS[1])
MADE.poison(0)


class Stored(HistoryStore):
    """The embedded store's own statements, on one connection and without its threads."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", check_same_thread=False)
        self.connection.executescript(_SCHEMA)
        write(self.connection, MADE.batch(0, 0, len(MADE.records[0])))

    async def write(self, batch: Batch) -> None:
        write(self.connection, batch)

    async def register(self, conversation_id: str, participants: tuple[str, ...]) -> None:
        self.connection.execute(ADD_CONVERSATION, (conversation_id, "\n".join(participants)))

    async def participants(self, conversation_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        return reads.participants(self.connection, conversation_ids)

    async def persisted(self, incarnation: str, partition: int) -> Persisted:
        return reads.persisted(self.connection, incarnation, partition)

    async def events(self, asked: EventsAsked) -> EventsFound:
        return reads.events(self.connection, asked)

    async def messages(
        self, conversation_id: str, cut: Cut, newer: bool, limit: int, max_bytes: int, reader_id: str
    ) -> Page[StoredMessage]:
        return reads.messages(self.connection, conversation_id, cut, newer, limit, max_bytes, reader_id)

    async def named_messages(
        self, names: Sequence[tuple[str, MessageKey]], reader_id: str
    ) -> Sequence[StoredMessage | None]:
        return reads.named_messages(self.connection, names, reader_id)

    async def overviews(
        self, user_id: str, before: tuple[int, str] | None, limit: int, max_bytes: int
    ) -> Page[Overview]:
        return reads.overviews(self.connection, user_id, before, limit, max_bytes)

    async def overview(self, user_id: str, conversation_id: str) -> Overview | None:
        return reads.overview(self.connection, user_id, conversation_id)

    async def close(self) -> None:
        self.connection.close()


class _Named:
    def verify(self, token: str) -> Any:
        from messaging_core.identity import Identity

        return Identity(token, None)


STORED = Stored()
API = HistoryApi(
    STORED,
    MemoryLog(1, INCARNATION),
    _Named(),
    HistorySettings(limits=Limits(max_recipients=5), max_page_bytes=300),
)
KINDS = {
    "list_messages": history.ListMessagesRequest,
    "get_messages": history.GetMessagesRequest,
    "list_conversations": history.ListConversationsRequest,
    "get_conversation": history.GetConversationRequest,
    "list_events": history.ListEventsRequest,
}
HANDLERS: dict[str, Any] = {
    name: API._handler(kind, getattr(API, f"_{name}")).unary_unary for name, kind in KINDS.items()
}
BOTH = conversation_id(USERS[:2])
PAGE_SIZES = st.integers(-1, 3) | INT32
KEYS = st.builds(MessageKey, INT64, USER_ID, TEXT)
TOKENS = st.one_of(
    st.builds(
        lambda key, after, newer: messages_token(MessagesPlace(Cut(key, after), newer), "ann", BOTH),
        KEYS,
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        lambda at, name, cursor: conversations_token(ConversationsPlace(at, name, cursor), "ann"),
        INT64,
        CONVERSATION_ID,
        CURSOR_TEXT,
    ),
    TEXT,
)
REAL = st.sampled_from(_REFS)


def _named(by_id: str | None, users: messaging.Recipients | None) -> history.ConversationName:
    name = history.ConversationName(conversation_id=by_id)
    if users is not None:
        getattr(name, "with").CopyFrom(users)
    return name


NAMES = st.builds(_named, st.just(BOTH) | CONVERSATION_ID, st.none() | RECIPIENTS)
QUESTIONS: dict[str, st.SearchStrategy[Any]] = {
    "list_messages": a(
        history.ListMessagesRequest,
        conversation=maybe(NAMES),
        page_size=PAGE_SIZES,
        page_token=maybe(TOKENS),
        direction=st.integers(0, 4) | INT32,
        message=maybe(REFS | GOOD_REFS | REAL),
    )
    | a(
        history.ListMessagesRequest,
        conversation=NAMES,
        page_size=PAGE_SIZES,
        direction=st.integers(0, 3),
        time=TIMES,
    ),
    "get_messages": st.builds(
        lambda refs: history.GetMessagesRequest(messages=refs), st.lists(REFS | GOOD_REFS | REAL, max_size=4)
    ),
    "list_conversations": a(history.ListConversationsRequest, page_size=PAGE_SIZES, page_token=maybe(TOKENS)),
    "get_conversation": a(history.GetConversationRequest, conversation=maybe(NAMES)),
    "list_events": a(history.ListEventsRequest, after_cursor=CURSOR_TEXT, page_size=PAGE_SIZES),
}
ASKED = st.sampled_from(sorted(QUESTIONS)).flatmap(
    lambda name: st.tuples(st.just(name), encodings(QUESTIONS[name]))
)
ANSWERS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNAUTHENTICATED,
}
"""history.proto; here everything is up."""


@subject(share=20, short=50, asked=ASKED, user=st.sampled_from(("ann", "ann", "ann", "cy", "a b")))
def test_history_requests(asked: tuple[str, bytes], user: str) -> None:
    """Whatever is asked of history is answered, or refused by name; never with what the caller may not see."""
    run(_ask(*asked, user))


async def _ask(name: str, data: bytes, user: str) -> None:
    call = Call(user)
    call.serve(HANDLERS[name](data, call))
    await moment()
    answer = await call.answer()
    if answer is None:
        assert call.status in ANSWERS, (call.status, call.detail)
        assert refusal_of(call).reason in REASONS
        return
    kind = getattr(history, KINDS[name].__name__.replace("Request", "Response"))
    assert kind.FromString(answer) is not None
    if user == "cy":
        assert BOTH.encode() not in answer
