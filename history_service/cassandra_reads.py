"""What is asked of the Cassandra store about conversations."""

from asyncio import gather
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from cell.log.v1 import record_pb2 as log
from history_service.cassandra_messages import MessageReads
from history_service.cassandra_session import CassandraSession
from history_service.cassandra_writes import read_mark
from history_service.port import (
    BEGINNING,
    END,
    Cut,
    MarkRow,
    MessageKey,
    Overview,
    Page,
    StoredMessage,
    page_of,
)

_QUERIES: Final = {
    "participants": "select participants from {keyspace}.conversations where conversation_id = ?",
    "activity": "select last_at_us, conversation_id from {keyspace}.activity where user_id = ?",
    "memberships": "select conversation_id from {keyspace}.memberships where user_id = ?",
    "marks": """select marker_id, kind, sent_at_us, value from {keyspace}.marks
        where user_id = ? and conversation_id = ?""",
}
_SEEN_AT_ONCE = 16
"""Conversations of a listing, or messages by name, that are looked up together."""
_KNOWN_IDS = 1_000_000
"""User ids kept of conversations looked up."""


class Reads:
    """Reads of conversations."""

    def __init__(self, session: CassandraSession, keyspace: str) -> None:
        """Prepare the queries, which blocks."""
        self._session = session
        self._messages = MessageReads(session, keyspace)
        self._queries = {
            name: session.prepare(cql.format(keyspace=keyspace)) for name, cql in _QUERIES.items()
        }
        self._known: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._known_ids = 0

    async def participants(self, conversation_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """HistoryStore.participants."""
        found = await gather(*map(self._participants_of, conversation_ids))
        return {name: users for name, users in zip(conversation_ids, found, strict=True) if users}

    async def messages(
        self, conversation_id: str, cut: Cut, newer: bool, limit: int, max_bytes: int, reader_id: str
    ) -> Page[StoredMessage]:
        """HistoryStore.messages."""
        count = len(await self._participants_of(conversation_id))
        if not count:
            return Page([], False)
        return await self._messages.page(conversation_id, count, cut, newer, limit, max_bytes, reader_id)

    async def named_messages(
        self, names: Sequence[tuple[str, MessageKey]], reader_id: str
    ) -> Sequence[StoredMessage | None]:
        """HistoryStore.named_messages."""
        found: list[StoredMessage | None] = []
        for start in range(0, len(names), _SEEN_AT_ONCE):
            some = names[start : start + _SEEN_AT_ONCE]
            found += await gather(*(self._named(*name, reader_id) for name in some))
        return found

    async def overviews(
        self, user_id: str, before: tuple[int, str] | None, limit: int, max_bytes: int
    ) -> Page[Overview]:
        """HistoryStore.overviews."""
        active = await self._active(user_id)
        below = before or (END.key.sent_at_us, "")
        names = sorted((name for name in active if name[0] > 0 and name < below), reverse=True)
        seen: list[Overview] = []
        while names:
            count = min(_SEEN_AT_ONCE, limit + 1 - len(seen))
            some, names = names[:count], names[count:]
            overviews = await gather(*(self.overview(user_id, name) for _, name in some))
            # The place in the listing is that of the listing, though a later message may have come meanwhile.
            seen += [
                each._replace(last_at_us=at_us)
                for each, (at_us, _) in zip(overviews, some, strict=True)
                if each
            ]
            page = page_of(((each, each.last_message_bytes) for each in seen), limit, max_bytes)
            if page.more:
                return page
        return Page(seen, False)

    async def overview(self, user_id: str, conversation_id: str) -> Overview | None:
        """HistoryStore.overview."""
        participants = await self._participants_of(conversation_id)
        if not participants:
            return None
        marks, latest = await gather(
            self._marks(user_id, conversation_id),
            self.messages(conversation_id, END, False, 1, 0, user_id),
        )
        own = (mark for mark in marks if mark.marker_id == user_id and mark.kind == log.EVENT_KIND_READ_MARK)
        read = next((mark.through for mark in own), BEGINNING.key)
        unread = await self._messages.unread(conversation_id, len(participants), read, user_id)
        last = latest.items[0] if latest.items else None
        last_at_us = last.key.sent_at_us if last else 0
        return Overview(conversation_id, participants, last_at_us, last, unread, marks)

    async def large_conversations(self, user_id: str) -> list[str]:
        """Those of the user whose events are shared."""
        rows = await self._session.rows(self._queries["memberships"], (user_id,))
        return [conversation_id for (conversation_id,) in rows]

    async def _participants_of(self, conversation_id: str) -> tuple[str, ...]:
        """Empty if the conversation is not known. Who is in one never changes, so those used lately are remembered."""
        known = self._known
        if users := known.get(conversation_id):
            known.move_to_end(conversation_id)
            return users
        row = await self._session.row(self._queries["participants"], (conversation_id,))
        if row is None:
            return ()
        users = tuple(row[0].split("\n"))
        if conversation_id not in known:
            known[conversation_id] = users
            self._known_ids += len(users)
            while self._known_ids > _KNOWN_IDS:
                self._known_ids -= len(known.popitem(last=False)[1])
        return users

    async def _named(self, conversation_id: str, key: MessageKey, reader_id: str) -> StoredMessage | None:
        participants = await self._participants_of(conversation_id)
        if reader_id not in participants:
            return None
        return await self._messages.named(conversation_id, len(participants), key, reader_id)

    # Conversations of a user

    async def _active(self, user_id: str) -> Iterable[tuple[int, str]]:
        """(last_at_us, conversation) of all the user's conversations."""
        rows, large = await gather(
            self._session.rows(self._queries["activity"], (user_id,)), self.large_conversations(user_id)
        )
        active = {conversation_id: last_at_us for last_at_us, conversation_id in rows}
        for conversation_id, last_at_us in zip(
            large, await gather(*map(self._last_at_us, large)), strict=True
        ):
            active[conversation_id] = last_at_us
        return [(last_at_us, conversation_id) for conversation_id, last_at_us in active.items()]

    async def _last_at_us(self, conversation_id: str) -> int:
        """sent_at of the last message; 0 for none."""
        count = len(await self._participants_of(conversation_id))
        return await self._messages.last_at_us(conversation_id, count) if count else 0

    async def _marks(self, user_id: str, conversation_id: str) -> tuple[MarkRow, ...]:
        rows = await self._session.rows(self._queries["marks"], (user_id, conversation_id))
        return tuple(
            read_mark((user_id, conversation_id, marker_id, kind), sent_at_us, value)[1]
            for marker_id, kind, sent_at_us, value in rows
        )
