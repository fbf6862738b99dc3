"""What is asked of the Cassandra store about the messages of a conversation: bucket by bucket, some ahead, and bounded.

However large messages are, and however often someone reacted to them, a read holds a bounded number of rows at a time.
"""

from asyncio import gather
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from cassandra.query import PreparedStatement

from history_service.cassandra_schema import bucket_of
from history_service.cassandra_session import CassandraSession, Row
from history_service.port import (
    END,
    REACTING_USERS_SHOWN,
    REACTION_KEYS_SHOWN,
    REACTIONS_LOOKED_AT,
    UNREAD_CAP,
    Cut,
    MessageKey,
    Page,
    Reactions,
    StoredMessage,
)

_PLACE = "conversation_id = ? and bucket = ?"
_KEY = "(sent_at_us, sender_id, message_id)"
_MESSAGES: Final = (
    f"select sent_at_us, sender_id, message_id, event from {{keyspace}}.messages where {_PLACE}"
)
_BACKWARDS = "order by sent_at_us desc, sender_id desc, message_id desc"
_BUCKETS: Final = "select bucket from {keyspace}.conversation_buckets where conversation_id = ?"
_QUERIES: Final = {
    "buckets before": f"{_BUCKETS} and bucket <= ? order by bucket desc limit ?",
    "buckets after": f"{_BUCKETS} and bucket >= ? limit ?",
    "before": f"{_MESSAGES} and {_KEY} < (?, ?, ?) {_BACKWARDS} limit ?",
    "through": f"{_MESSAGES} and {_KEY} <= (?, ?, ?) {_BACKWARDS} limit ?",
    "from": f"{_MESSAGES} and {_KEY} >= (?, ?, ?) limit ?",
    "after": f"{_MESSAGES} and {_KEY} > (?, ?, ?) limit ?",
    "senders": f"""select sent_at_us, sender_id, message_id from {{keyspace}}.messages
        where {_PLACE} and {_KEY} > (?, ?, ?) limit ?""",
    "message": f"{_MESSAGES} and {_KEY} = (?, ?, ?)",
    "reactions": f"""select sent_at_us, sender_id, message_id, key, user_id, removed from {{keyspace}}.reactions
        where {_PLACE} and {_KEY} >= (?, ?, ?) and {_KEY} <= (?, ?, ?) limit ?""",
}
_BOUNDARIES = {
    (True, False): "from",
    (True, True): "after",
    (False, False): "before",
    (False, True): "through",
}
"""By (newer, Cut.after)."""
_ROWS_AT_FIRST, _ROWS_AT_ONCE = 32, 128
"""Messages read at a time: those that follow may be the largest there are, 8 MiB together by the default limit."""
_SENDERS_AT_ONCE = 512
_BUCKETS_AT_ONCE = 32
_BUCKETS_AHEAD = 16
_UNREAD_WALK = 10_000
"""Messages walked over at most to count the unread ones: a user who sends that many and reads nothing is told of fewer."""
_REACTIONS_A_PAGE = 20_000
"""When a page has so many, it ends."""
_REACTIONS_AHEAD = 8


class MessageReads:
    """Reads of the messages of a conversation, whose bucket depends on how many take part in it: `count`."""

    def __init__(self, session: CassandraSession, keyspace: str) -> None:
        """Prepare the queries, which blocks."""
        self._session = session
        self._queries = {
            name: session.prepare(cql.format(keyspace=keyspace)) for name, cql in _QUERIES.items()
        }

    async def page(
        self,
        conversation_id: str,
        count: int,
        cut: Cut,
        newer: bool,
        limit: int,
        max_bytes: int,
        reader_id: str,
    ) -> Page[StoredMessage]:
        """HistoryStore.messages."""
        rows, more = await self._rows(conversation_id, count, cut, newer, limit, max_bytes)
        shown = await self._with_reactions(conversation_id, count, rows, reader_id)
        return Page(shown, more or len(shown) < len(rows))

    async def named(
        self, conversation_id: str, count: int, key: MessageKey, reader_id: str
    ) -> StoredMessage | None:
        """One message, if it is there."""
        values = (conversation_id, bucket_of(key.sent_at_us, count), *key)
        row = await self._session.row(self._queries["message"], values)
        if row is None:
            return None
        (shown,) = await self._with_reactions(conversation_id, count, [row], reader_id)
        return shown

    async def last_at_us(self, conversation_id: str, count: int) -> int:
        """sent_at of the last message; 0 for none."""
        rows, _ = await self._rows(conversation_id, count, END, False, 1, 0)
        return int(rows[0][0]) if rows else 0

    async def unread(self, conversation_id: str, count: int, read: MessageKey, user_id: str) -> int:
        """Messages of others after `read`, counted to UNREAD_CAP."""
        senders = self._queries["senders"]
        buckets = self._buckets(conversation_id, count, read, True)
        walk = _Walk(self._session, buckets, read, (senders, senders), _SENDERS_AT_ONCE)
        unread = walked = 0
        while unread < UNREAD_CAP and walked < _UNREAD_WALK and (rows := await walk.some(_SENDERS_AT_ONCE)):
            unread += sum(sender_id != user_id for _, sender_id, _ in rows)
            walked += len(rows)
        return min(unread, UNREAD_CAP)

    def _buckets(self, conversation_id: str, count: int, key: MessageKey, newer: bool) -> "_Buckets":
        query = self._queries["buckets after" if newer else "buckets before"]
        return _Buckets(self._session, query, conversation_id, bucket_of(key.sent_at_us, count), newer)

    async def _rows(
        self, conversation_id: str, count: int, cut: Cut, newer: bool, limit: int, max_bytes: int
    ) -> tuple[Sequence[Row], bool]:
        """Messages from a cut on, nearest first, and whether others follow."""
        queries = [self._queries[_BOUNDARIES[newer, after]] for after in (cut.after, newer)]
        buckets = self._buckets(conversation_id, count, cut.key, newer)
        walk = _Walk(self._session, buckets, cut.key, (queries[0], queries[1]), _ROWS_AT_ONCE)
        found: list[Row] = []
        take, size = min(_ROWS_AT_FIRST, limit + 1), 0
        while rows := await walk.some(take):
            for row in rows:
                size += len(row[3])
                if len(found) == limit or (found and size > max_bytes):
                    return found, True
                found.append(row)
            take = _next_take(found, size, limit, max_bytes)
        return found, False

    async def _with_reactions(
        self, conversation_id: str, count: int, rows: Sequence[Row], reader_id: str
    ) -> list[StoredMessage]:
        """These messages and the reactions in force to them; not those behind where a page is full of reactions."""
        shown: list[StoredMessage] = []
        looked_at, ahead = 0, _REACTIONS_AHEAD
        runs: list[Sequence[Row]] = [
            list(run) for _, run in groupby(rows, lambda row: bucket_of(row[0], count))
        ]
        while runs and looked_at < _REACTIONS_A_PAGE:
            some, runs = runs[:ahead], runs[ahead:]
            ahead = min(2 * ahead, _REACTIONS_AHEAD)
            answers = await gather(*(self._reactions(conversation_id, count, run) for run in some))
            for number, (run, reactions) in enumerate(zip(some, answers, strict=True)):
                if len(reactions) > REACTIONS_LOOKED_AT and len(run) > 1:
                    # Too many in front may hide those of the messages behind: again, of fewer messages at a time.
                    runs = [*_pieces(run), *some[number + 1 :], *runs]
                    ahead = 1
                    break
                looked_at += len(reactions)
                shown += _shown(conversation_id, run, reactions[:REACTIONS_LOOKED_AT], reader_id)
        return shown

    async def _reactions(self, conversation_id: str, count: int, run: Sequence[Row]) -> list[Row]:
        """The first reactions to messages that follow one another in a bucket, by message, key and user."""
        first, last = sorted((run[0][:3], run[-1][:3]))
        place = (conversation_id, bucket_of(first[0], count))
        return await self._session.rows(
            self._queries["reactions"], (*place, *first, *last, REACTIONS_LOOKED_AT + 1)
        )


class _Buckets:
    """The buckets of a conversation that have messages, from one on, nearest first; some are looked up at a time."""

    def __init__(
        self, session: CassandraSession, query: PreparedStatement, conversation_id: str, at: int, newer: bool
    ) -> None:
        self._session = session
        self._query = query
        self.conversation_id = conversation_id
        self._step = 1 if newer else -1
        self._at: int | None = at
        """From where on they are not looked up yet; None if all are."""
        self._known: list[int] = []

    async def nearest(self, count: int) -> Sequence[int]:
        """So many of those that are left, or all."""
        while len(self._known) < count and self._at is not None:
            values = (self.conversation_id, self._at, _BUCKETS_AT_ONCE)
            found = [bucket for (bucket,) in await self._session.rows(self._query, values)]
            self._known += found
            self._at = found[-1] + self._step if len(found) == _BUCKETS_AT_ONCE else None
        return self._known[:count]

    def leave(self, count: int) -> None:
        """Done with the nearest."""
        del self._known[:count]


class _Walk:
    """Goes through the messages of a conversation, nearest first: through one bucket, or some where little is in them."""

    def __init__(
        self,
        session: CassandraSession,
        buckets: _Buckets,
        start: MessageKey,
        queries: tuple[PreparedStatement, PreparedStatement],
        most: int,
    ) -> None:
        """From `start` by the first of the queries, behind a message by the other; at most `most` rows at a time."""
        self._session = session
        self._buckets = buckets
        self._key = start
        self._query, self._query_behind = queries
        self._conversation_id = buckets.conversation_id
        self._most = most
        self._ahead = 1

    async def some(self, take: int) -> Sequence[Row]:
        """The next rows, at most `take` of a bucket; none at the end."""
        found: list[Row] = []
        while not found and (buckets := await self._buckets.nearest(self._ahead)):
            take = min(take, self._most // len(buckets))
            answers = await gather(*(self._rows(bucket, take) for bucket in buckets))
            full = next((n for n, rows in enumerate(answers) if len(rows) == take), None)
            through = len(answers) if full is None else full + 1
            found = [row for rows in answers[:through] for row in rows]
            if full is None:
                self._buckets.leave(len(buckets))
                self._ahead = min(2 * self._ahead, _BUCKETS_AHEAD)
            else:  # there may be more in this bucket: go on behind what it gave
                self._buckets.leave(full)
                self._ahead = 1
                self._key, self._query = MessageKey(*found[-1][:3]), self._query_behind
        return found

    async def _rows(self, bucket: int, take: int) -> list[Row]:
        return await self._session.rows(self._query, (self._conversation_id, bucket, *self._key, take))


def _next_take(found: Sequence[Row], size: int, limit: int, max_bytes: int) -> int:
    """How many rows to ask for next: what is missing, as far as rows of the size seen so far fit."""
    each = size // len(found) + 1 if found else 1
    room = max(0, max_bytes - size) // each
    return max(1, min(limit - len(found) + 1, room + 1, _ROWS_AT_ONCE))


def _pieces(run: Sequence[Row]) -> list[Sequence[Row]]:
    """A run cut into some, of at least one message each."""
    length = max(1, len(run) // _REACTIONS_AHEAD)
    return [run[start : start + length] for start in range(0, len(run), length)]


def _shown(
    conversation_id: str, run: Iterable[Row], reactions: Iterable[Row], reader_id: str
) -> Iterator[StoredMessage]:
    """Messages with the reactions to them, which are given by message, key and user."""
    by_message = {key: _as_seen(group, reader_id) for key, group in groupby(reactions, lambda row: row[:3])}
    for row in run:
        yield StoredMessage(conversation_id, MessageKey(*row[:3]), row[3], by_message.get(row[:3], ()))


def _as_seen(rows: Iterable[Row], reader_id: str) -> tuple[Reactions, ...]:
    """Reactions to one message, given by key and user, as a reader sees them."""
    shown: list[Reactions] = []
    in_force = ((key, user_id) for *_, key, user_id, removed in rows if not removed)
    for key, group in groupby(in_force, lambda each: each[0]):
        users = [user_id for _, user_id in group]
        if len(shown) < REACTION_KEYS_SHOWN:
            shown.append(Reactions(key, len(users), tuple(users[:REACTING_USERS_SHOWN]), reader_id in users))
    return tuple(shown)
