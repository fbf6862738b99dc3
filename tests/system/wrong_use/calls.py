"""Questions to history that are refused."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from google.protobuf.message import Message
from grpc import StatusCode

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from check.history_pages import by_id, with_users
from tests.system.wrong_use.answers import (
    CURSOR_INVALID,
    INVALID,
    NOT_FOUND,
    TOO_LARGE,
    TOO_MANY_RECIPIENTS,
    Answer,
)
from tests.system.wrong_use.commands import ELSEWHERE, PEER, Caller, ref

METHODS = ("ListMessages", "GetMessages", "ListConversations", "GetConversation", "ListEvents")


@dataclass(frozen=True, slots=True)
class WrongCall:
    """A request of cell.history.v1.HistoryService."""

    what: str
    method: str
    make: Callable[[Caller], bytes]
    answer: Answer
    ways: tuple[str, ...] = ("history",)


def _asked(what: str, answer: Answer, make: Callable[[Caller], Message]) -> WrongCall:
    answer = replace(answer, ends=None)
    method = type(make(_NOBODY)).__name__.removesuffix("Request")
    return WrongCall(f"{method}: {what}", method, lambda caller: make(caller).SerializeToString(), answer)


def _cursor(what: str, status: StatusCode, make: Callable[[Caller], str]) -> WrongCall:
    answer = Answer(CURSOR_INVALID, "after_cursor", status=status)
    return _asked(what, answer, lambda caller: history.ListEventsRequest(after_cursor=make(caller)))


def _messages(**fields: object) -> history.ListMessagesRequest:
    return history.ListMessagesRequest(**({"conversation": with_users(PEER)} | fields))  # type: ignore[arg-type]


_NOBODY = Caller("nobody", b"nolog---", 0, 1)
_AROUND = history.DIRECTION_AROUND
_NO_PAGE = Answer(INVALID, "page_size")
_NO_TOKEN = Answer(INVALID, "page_token")
_NO_NAME = Answer(INVALID, "conversation")
_NOWHERE = Answer(NOT_FOUND, "conversation")
_USERS = "conversation.with.user_ids"

CALLS = (
    *(
        WrongCall(f"{method}: what does not parse", method, lambda _: b"\x0a\xff", Answer(INVALID, ends=None))
        for method in METHODS
    ),
    _asked("a negative page", _NO_PAGE, lambda _: _messages(page_size=-1)),
    _asked("a negative page", _NO_PAGE, lambda _: history.ListConversationsRequest(page_size=-1)),
    _asked("a negative page", _NO_PAGE, lambda _: history.ListEventsRequest(page_size=-1)),
    _asked("no page token", _NO_TOKEN, lambda _: _messages(page_token="x")),
    _asked("a page token beyond ASCII", _NO_TOKEN, lambda _: _messages(page_token="ä")),
    _asked("no page token", _NO_TOKEN, lambda _: history.ListConversationsRequest(page_token="x" * 2_000)),
    _asked("no conversation", _NO_NAME, lambda _: _messages(conversation=None)),
    _asked("no conversation", _NO_NAME, lambda _: history.GetConversationRequest()),
    _asked("one that does not exist", _NOWHERE, lambda _: _messages(conversation=by_id(ELSEWHERE))),
    _asked(
        "one that does not exist",
        _NOWHERE,
        lambda _: history.GetConversationRequest(conversation=by_id(ELSEWHERE)),
    ),
    _asked(
        "a conversation id that is none",
        Answer(INVALID, "conversation.conversation_id"),
        lambda _: _messages(conversation=by_id("short")),
    ),
    _asked("with nobody", Answer(INVALID, _USERS), lambda _: _messages(conversation=with_users())),
    _asked(
        "with 1,001 users",
        Answer(TOO_MANY_RECIPIENTS, _USERS, "max_recipients"),
        lambda _: _messages(conversation=with_users(*(f"u{n}" for n in range(1_001)))),
    ),
    _asked(
        "with a user twice",
        Answer(INVALID, f"{_USERS}[1]"),
        lambda _: _messages(conversation=with_users(PEER, PEER)),
    ),
    _asked(
        "with a user id that is none",
        Answer(INVALID, f"{_USERS}[0]", 255),
        lambda _: _messages(conversation=with_users("a b")),
    ),
    _asked("an unknown direction", Answer(INVALID, "direction"), lambda _: _messages(direction=99)),
    _asked("around nothing", Answer(INVALID, "anchor"), lambda _: _messages(direction=_AROUND)),
    _asked(
        "around a message of another conversation",
        Answer(INVALID, "message.conversation_id"),
        lambda _: _messages(direction=_AROUND, message=ref()),
    ),
    _asked(
        "around a message without a time",
        Answer(INVALID, "message.sent_at"),
        lambda caller: _messages(direction=_AROUND, message=ref(caller, sent_at=None)),
    ),
    _asked("no names", Answer(INVALID, "messages"), lambda _: history.GetMessagesRequest()),
    _asked(
        "101 names",
        Answer(TOO_LARGE, "messages", 100),
        lambda _: history.GetMessagesRequest(messages=[ref()] * 101),
    ),
    _asked(
        "a name that is none",
        Answer(INVALID, "messages[0].conversation_id"),
        lambda _: history.GetMessagesRequest(messages=[messaging.MessageRef()]),
    ),
    _cursor("no cursor", StatusCode.INVALID_ARGUMENT, lambda _: "x"),
    _cursor(
        "a cursor of another user's partition",
        StatusCode.INVALID_ARGUMENT,
        lambda caller: caller.cursor(0, caller.other_partition),
    ),
    _cursor(
        "a cursor of another log",
        StatusCode.FAILED_PRECONDITION,
        lambda caller: caller.cursor(0, incarnation=b"anotherl"),
    ),
    _cursor("a cursor past the log's end", StatusCode.OUT_OF_RANGE, lambda caller: caller.cursor(1 << 40)),
)
