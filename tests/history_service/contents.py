"""All that the port shows of a store, to compare two of them."""

from collections.abc import Sequence
from typing import Any

from history_service.port import BEGINNING, EventsAsked, HistoryStore
from messaging_core.ids import conversation_id
from tests.history_service.commands import CONVERSATIONS, USERS
from tests.history_service.written import WrittenLog

ALL = 10_000


async def contents(
    store: HistoryStore,
    made: WrittenLog,
    conversations: Sequence[Sequence[str]] = CONVERSATIONS,
    users: Sequence[str] = USERS,
) -> list[Any]:
    """What it shows of these conversations and users."""
    names = [conversation_id(participants) for participants in conversations]
    shown: list[Any] = [await store.participants(names)]
    for partition in made.records:
        shown.append(await store.persisted(made.incarnation, partition))
    for name in names:
        shown.append(await store.messages(name, BEGINNING, True, ALL, 2**30, "ann"))
    for user in users:
        asked = EventsAsked(made.incarnation, user, made.partition_of(user), -1, ALL, ALL, 2**30)
        shown.append(await store.events(asked))
        shown.append(await store.overviews(user, None, ALL, 2**30))
    return shown
