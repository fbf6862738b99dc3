"""What is asked of the Cassandra store about conversations. Messages are read bucket by bucket, some ahead."""

from asyncio import gather
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from cell.log.v1 import record_pb2 as log
from history_service.cassandra_schema import bucket_of
from history_service.cassandra_session import CassandraSession, Row
from history_service.cassandra_writes import read_mark
from history_service.port import (
    BEGINNING,
    END,
    REACTING_USERS_SHOWN,
    REACTION_KEYS_SHOWN,
    UNREAD_CAP,
    Cut,
    MarkRow,
    MessageKey,
    Overview,
    Page,
    Reactions,
    StoredMessage,
    page_of,
)

_PLACE = "conversation_id = ? and bucket = ?"
_KEY = "(sent_at_us, sender_id, message_id)"
_MESSAGES: Final = (
    f"select sent_at_us, sender_id, message_id, event from {{keyspace}}.messages where {_PLACE}"
)
_BACKWARDS = "order by sent_at_us desc, sender_id desc, message_id desc"
_QUERIES: Final = {
    "participants": "select participants from {keyspace}.conversations where conversation_id = ?",
    "buckets before": """select bucket from {keyspace}.conversation_buckets where conversation_id = ? and bucket <= ?
        order by bucket desc""",
    "buckets after": "select bucket from {keyspace}.conversation_buckets where conversation_id = ? and bucket >= ?",
    "before": f"{_MESSAGES} and {_KEY} < (?, ?, ?) {_BACKWARDS} limit ?",
    "through": f"{_MESSAGES} and {_KEY} <= (?, ?, ?) {_BACKWARDS} limit ?",
    "from": f"{_MESSAGES} and {_KEY} >= (?, ?, ?) limit ?",
    "after": f"{_MESSAGES} and {_KEY} > (?, ?, ?) limit ?",
    "senders": f"""select sent_at_us, sender_id, message_id from {{keyspace}}.messages
        where {_PLACE} and {_KEY} > (?, ?, ?) limit ?""",
    "message": f"{_MESSAGES} and {_KEY} = (?, ?, ?)",
    "reactions": f"""select sent_at_us, sender_id, message_id, key, user_id, removed from {{keyspace}}.reactions
        where {_PLACE} and {_KEY} >= (?, ?, ?) and {_KEY} <= (?, ?, ?)""",
    "activity": "select last_at_us, conversation_id from {keyspace}.activity where user_id = ?",
    "memberships": "select conversation_id from {keyspace}.memberships where user_id = ?",
    "marks": """select marker_id, kind, sent_at_us, value from {keyspace}.marks
        where user_id = ? and conversation_id = ?""",
}
_BOUNDARIES = {
    (True, False): "from",
    (True, True): "after",
    (False, False): "before",
    (False, True): "through",
}
"""By (newer, Cut.after)."""
_ROWS_AT_FIRST, _ROWS_AT_MOST = 32, 512
"""Rows asked for at a time; large messages make it fewer."""
_BUCKETS_AHEAD = 16
_SEEN_AT_ONCE = 16
"""Conversations of a listing that are looked up together."""
_UNREAD_WALK = 10_000
"""Messages walked over at most to count the unread ones: a user who sends that many and reads nothing is told of fewer."""
_KNOWN_IDS = 1_000_000
"""User ids kept of conversations looked up."""

Place = tuple[int, str, str]


class Reads:
    """Reads of conversations."""

    def __init__(self, session: CassandraSession, keyspace: str) -> None:
        """Prepare the queries, which blocks."""
        self._session = session
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
        rows, more = await self._walk(conversation_id, count, cut, newer, limit, max_bytes)
        reactions = await self._reactions(conversation_id, count, [row[:3] for row in rows], reader_id)
        shown = [
            StoredMessage(conversation_id, MessageKey(*row[:3]), row[3], reactions.get(row[:3], ()))
            for row in rows
        ]
        return Page(shown, more)

    async def named_messages(
        self, names: Sequence[tuple[str, MessageKey]], reader_id: str
    ) -> Sequence[StoredMessage | None]:
        """HistoryStore.named_messages."""
        return await gather(*(self._named(*name, reader_id) for name in names))

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
        unread = await self._unread(conversation_id, len(participants), read, user_id)
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

    # Messages

    async def _buckets(self, conversation_id: str, count: int, cut: Cut, newer: bool) -> list[int]:
        """Buckets with messages on one side of a cut, nearest first."""
        at = bucket_of(cut.key.sent_at_us, count)
        query = self._queries["buckets after" if newer else "buckets before"]
        return [bucket for (bucket,) in await self._session.rows(query, (conversation_id, at))]

    async def _walk(
        self, conversation_id: str, count: int, cut: Cut, newer: bool, limit: int, max_bytes: int
    ) -> tuple[Sequence[Row], bool]:
        """Messages from a cut on, nearest first, and whether others follow."""
        buckets = await self._buckets(conversation_id, count, cut, newer)
        found: list[Row] = []
        take, ahead, size = _ROWS_AT_FIRST, 1, 0
        while buckets:
            query = self._queries[_BOUNDARIES[newer, cut.after]]
            some = buckets[:ahead]
            answers = await gather(
                *(self._session.rows(query, (conversation_id, b, *cut.key, take)) for b in some)
            )
            for rows in answers:
                for row in rows:
                    size += len(row[3])
                    if len(found) == limit or (found and size > max_bytes):
                        return found, True
                    found.append(row)
                if len(rows) == take:  # there may be more in this bucket: go on behind the last
                    cut = Cut(MessageKey(*rows[-1][:3]), after=newer)
                    break
                buckets.pop(0)
            ahead = min(2 * ahead, _BUCKETS_AHEAD)
            take = _next_take(found, size, limit, max_bytes)
        return found, False

    async def _named(self, conversation_id: str, key: MessageKey, reader_id: str) -> StoredMessage | None:
        participants = await self._participants_of(conversation_id)
        if reader_id not in participants:
            return None
        bucket = bucket_of(key.sent_at_us, len(participants))
        row = await self._session.row(self._queries["message"], (conversation_id, bucket, *key))
        if row is None:
            return None
        reactions = await self._reactions(conversation_id, len(participants), [row[:3]], reader_id)
        return StoredMessage(conversation_id, key, row[3], reactions.get(row[:3], ()))

    async def _reactions(
        self, conversation_id: str, count: int, messages: Sequence[Place], reader_id: str
    ) -> dict[Place, tuple[Reactions, ...]]:
        """Reactions in force to these messages, which follow one another, by message."""
        queries = []
        for bucket, group in groupby(sorted(messages), lambda message: bucket_of(message[0], count)):
            inside = list(group)
            values = (conversation_id, bucket, *inside[0], *inside[-1])
            queries.append(self._session.rows(self._queries["reactions"], values))
        rows = (row for answer in await gather(*queries) for row in answer)
        return {name: _shown(group, reader_id) for name, group in groupby(rows, lambda row: row[:3])}

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
        rows, _ = await self._walk(conversation_id, count, END, False, 1, 0) if count else ((), False)
        return int(rows[0][0]) if rows else 0

    async def _marks(self, user_id: str, conversation_id: str) -> tuple[MarkRow, ...]:
        rows = await self._session.rows(self._queries["marks"], (user_id, conversation_id))
        return tuple(
            read_mark((user_id, conversation_id, marker_id, kind), sent_at_us, value)[1]
            for marker_id, kind, sent_at_us, value in rows
        )

    async def _unread(self, conversation_id: str, count: int, read: MessageKey, user_id: str) -> int:
        """Messages of others after `read`, counted to UNREAD_CAP."""
        unread, walked, cut = 0, 0, Cut(read, after=True)
        for bucket in await self._buckets(conversation_id, count, cut, True):
            key, full = read, True
            while full and unread < UNREAD_CAP and walked < _UNREAD_WALK:
                values = (conversation_id, bucket, *key, _ROWS_AT_MOST)
                rows = await self._session.rows(self._queries["senders"], values)
                unread += sum(sender_id != user_id for _, sender_id, _ in rows)
                walked += len(rows)
                full = len(rows) == _ROWS_AT_MOST
                key = MessageKey(*rows[-1]) if full else key
        return min(unread, UNREAD_CAP)


def _next_take(found: Sequence[Row], size: int, limit: int, max_bytes: int) -> int:
    """How many rows to ask for next: what is missing, as far as rows of the size seen so far fit."""
    each = size // len(found) + 1 if found else 1
    room = max(0, max_bytes - size) // each
    return max(1, min(limit - len(found) + 1, room + 1, _ROWS_AT_MOST))


def _shown(rows: Iterable[Row], reader_id: str) -> tuple[Reactions, ...]:
    """Reactions to one message, given by key and user, as a reader sees them."""
    shown: list[Reactions] = []
    in_force = ((key, user_id) for *_, key, user_id, removed in rows if not removed)
    for key, group in groupby(in_force, lambda each: each[0]):
        users = [user_id for _, user_id in group]
        if len(shown) < REACTION_KEYS_SHOWN:
            shown.append(Reactions(key, len(users), tuple(users[:REACTING_USERS_SHOWN]), reader_id in users))
    return tuple(shown)
