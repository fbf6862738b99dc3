"""Reads history page by page to the end."""

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from check.calls import eventually
from check.ledger import without_marks
from check.plain_client import PlainClient


async def all_events(client: PlainClient, after: str = "", page_size: int = 200) -> list[messaging.Event]:
    """Every event of the client's user that history has, by ListEvents."""
    events: list[messaging.Event] = []
    while True:
        request = history.ListEventsRequest(after_cursor=after, page_size=page_size)
        page = await client.history.ListEvents(request, metadata=client.metadata)
        assert len(page.events) <= page_size
        assert not page.gaps
        events += page.events
        if page.next_cursor == page.persisted_cursor:
            return events
        assert page.next_cursor != after, "a page that goes nowhere"
        after = page.next_cursor


async def events_at_least(client: PlainClient, count: int) -> list[messaging.Event]:
    """Every event, once history has so many that are not marks."""
    events: list[messaging.Event] = []

    async def look() -> bool:
        events[:] = await all_events(client)
        return len(without_marks(events)) >= count

    await eventually(look, f"{count} events in history of {client.user_id}")
    return events


async def all_messages(
    client: PlainClient,
    name: history.ConversationName,
    direction: history.Direction = history.DIRECTION_OLDER,
    page_size: int = 100,
) -> list[history.HistoryMessage]:
    """Every message of a conversation, in the order of the conversation, paged from one end to the other."""
    request = history.ListMessagesRequest(conversation=name, page_size=page_size, direction=direction)
    found: list[history.HistoryMessage] = []
    while True:
        page = await client.history.ListMessages(request, metadata=client.metadata)
        assert len(page.messages) <= page_size
        older = direction == history.DIRECTION_OLDER
        found = [*page.messages, *found] if older else [*found, *page.messages]
        token = page.older_page_token if older else page.newer_page_token
        if not token or not page.messages:
            return found
        request = history.ListMessagesRequest(conversation=name, page_size=page_size, page_token=token)


async def messages_at_least(
    client: PlainClient, name: history.ConversationName, count: int
) -> list[history.HistoryMessage]:
    """Every message of a conversation, once history has so many."""
    found: list[history.HistoryMessage] = []

    async def look() -> bool:
        found[:] = await all_messages(client, name)
        return len(found) >= count

    await eventually(look, f"{count} messages in history")
    return found


def by_id(conversation_id: str) -> history.ConversationName:
    """A conversation by its id."""
    return history.ConversationName(conversation_id=conversation_id)


def with_users(*user_ids: str) -> history.ConversationName:
    """A conversation by its participants."""
    name = history.ConversationName()
    getattr(name, "with").user_ids.extend(user_ids)  # a keyword in Python
    return name
