"""Questions to the history of conversations, page by page."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime

from cell.history.v1 import history_pb2 as history
from messaging_client import wire
from messaging_client.commands import AnyMessage, ref_of
from messaging_client.connection import Connection
from messaging_client.values import Conversation, HistoryMessage, MessageRef, micros_of

_PAGE = 100
Anchor = AnyMessage | datetime


@dataclass(frozen=True, slots=True)
class Place:
    """A conversation: of users, or by its id. Raises ValueError unless there is exactly one."""

    users: list[str]
    conversation_id: str

    def __post_init__(self) -> None:
        if bool(self.users) == bool(self.conversation_id):
            raise ValueError("name a conversation either by its users or by its id")

    @property
    def name(self) -> history.ConversationName:
        """As the contract has it."""
        return wire.conversation_name(self.conversation_id, self.users)


@dataclass(frozen=True, slots=True)
class Page:
    """Some messages in the order of their conversation."""

    messages: tuple[HistoryMessage, ...]
    older: str
    """Token of the page before; empty where there is none now."""
    newer: str
    """Token of the page after: what has come since, if this page is the newest."""


async def conversations(connection: Connection, timeout_s: float) -> AsyncIterator[Conversation]:
    """Client.conversations."""
    request = history.ListConversationsRequest(page_size=_PAGE)
    while True:
        response = await connection.ask(
            lambda stub, metadata, seconds: stub.ListConversations(
                request, metadata=metadata, timeout=seconds
            ),
            timeout_s,
        )
        for shown in response.conversations:
            yield wire.conversation_from(shown)
        if not response.next_page_token:
            return
        request.page_token = response.next_page_token


async def conversation(connection: Connection, place: Place, timeout_s: float) -> Conversation:
    """Client.conversation."""
    request = history.GetConversationRequest(conversation=place.name)
    response = await connection.ask(
        lambda stub, metadata, seconds: stub.GetConversation(request, metadata=metadata, timeout=seconds),
        timeout_s,
    )
    return wire.conversation_from(response.conversation)


async def messages(
    connection: Connection, place: Place, before: Anchor | None, after: Anchor | None, timeout_s: float
) -> AsyncIterator[HistoryMessage]:
    """Client.history."""
    if before is not None and after is not None:
        raise ValueError("history goes before something or after something, not both")
    forwards = after is not None
    request = history.ListMessagesRequest(conversation=place.name, page_size=_PAGE)
    request.direction = history.DIRECTION_NEWER if forwards else history.DIRECTION_OLDER
    _set_anchor(request, after if forwards else before)
    while True:
        shown = await _list(connection, request, timeout_s)
        for message in shown.messages if forwards else reversed(shown.messages):
            yield message
        request.page_token = shown.newer if forwards else shown.older
        if not shown.messages or not request.page_token:
            return


async def page(
    connection: Connection, place: Place, around: Anchor | None, token: str, size: int, timeout_s: float
) -> Page:
    """Client.history_page."""
    request = history.ListMessagesRequest(conversation=place.name, page_size=size, page_token=token)
    if around is not None:
        request.direction = history.DIRECTION_AROUND
        _set_anchor(request, around)
    return await _list(connection, request, timeout_s)


async def named(connection: Connection, refs: Iterable[MessageRef], timeout_s: float) -> list[HistoryMessage]:
    """Client.messages."""
    request = history.GetMessagesRequest(messages=map(wire.ref_to, refs))
    response = await connection.ask(
        lambda stub, metadata, seconds: stub.GetMessages(request, metadata=metadata, timeout=seconds),
        timeout_s,
    )
    return [wire.history_message_from(shown) for shown in response.messages]


async def _list(connection: Connection, request: history.ListMessagesRequest, timeout_s: float) -> Page:
    response = await connection.ask(
        lambda stub, metadata, seconds: stub.ListMessages(request, metadata=metadata, timeout=seconds),
        timeout_s,
    )
    shown = tuple(wire.history_message_from(message) for message in response.messages)
    return Page(shown, response.older_page_token, response.newer_page_token)


def _set_anchor(request: history.ListMessagesRequest, anchor: Anchor | None) -> None:
    if isinstance(anchor, datetime):
        request.time.CopyFrom(wire.timestamp(micros_of(anchor)))
    elif anchor is not None:
        request.message.CopyFrom(wire.ref_to(ref_of(anchor)))
