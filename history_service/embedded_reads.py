"""What is asked of the embedded store. Each function reads from one snapshot."""

import heapq
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter

from cell.log.v1 import record_pb2 as log
from history_service.embedded_file import EPOCH, epoch_of
from history_service.port import (
    BEGINNING,
    END,
    REACTING_USERS_SHOWN,
    REACTION_KEYS_SHOWN,
    UNREAD_CAP,
    Cut,
    EventsAsked,
    EventsFound,
    MarkRow,
    MessageKey,
    Overview,
    Page,
    Persisted,
    Reactions,
    StoredEvent,
    StoredMessage,
    page_of,
)


def participants(
    connection: sqlite3.Connection, conversation_ids: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """HistoryStore.participants."""
    found = {}
    for conversation_id in conversation_ids:
        if users := _participants_of(connection, conversation_id):
            found[conversation_id] = users
    return found


def _participants_of(connection: sqlite3.Connection, conversation_id: str) -> tuple[str, ...]:
    """Empty if the conversation is not known."""
    query = "select participants from conversations where conversation_id = ?"
    row = connection.execute(query, (conversation_id,)).fetchone()
    return () if row is None else tuple(row[0].split("\n"))


def persisted(connection: sqlite3.Connection, incarnation: str, partition: int) -> Persisted:
    """HistoryStore.persisted."""
    query = """select through, time_us from incarnations join positions using (epoch)
        where incarnation = ? and partition = ?"""
    row = connection.execute(query, (incarnation, partition)).fetchone()
    return Persisted(-1, 0) if row is None else Persisted(*row)


def events(connection: sqlite3.Connection, asked: EventsAsked) -> EventsFound:
    """HistoryStore.events."""
    epoch = epoch_of(connection, asked.incarnation)
    if epoch is None:
        return EventsFound([], True)
    base = epoch * EPOCH
    found: list[StoredEvent] = []
    size, last = 0, -1
    for position, _, logged, gap_time_us in heapq.merge(*_event_sources(connection, asked, base)):
        if position == last:
            continue
        size += len(logged)
        if len(found) == asked.max_events or (found and size > asked.max_bytes):
            return EventsFound(found, False)
        found.append(StoredEvent(position - base, logged, gap_time_us))
        last = position
    return EventsFound(found, True)


def _event_sources(
    connection: sqlite3.Connection, asked: EventsAsked, base: int
) -> list[Iterable[tuple[int, int, bytes, int]]]:
    """Rows (position, 1 for a gap, logged, time of a gap), each source by rising position, read as they are merged.

    Two sources give the same position where the bound between small and large conversations was changed, and where what
    was a gap was put back: then the event comes first.
    """
    within = "position > ? and position <= ? order by position"
    span = (base + asked.after, base + asked.through)
    mine = (asked.user_id, *span)
    sources: list[Iterable[tuple[int, int, bytes, int]]] = [
        connection.execute(f"select position, 0, logged, 0 from inbox where user_id = ? and {within}", mine),
        connection.execute(f"select position, 0, logged, 0 from marks where user_id = ? and {within}", mine),
        connection.execute(
            f"select position, 1, x'', time_us from gaps where partition = ? and {within}",
            (asked.partition, *span),
        ),
    ]
    large = connection.execute(
        "select conversation_id from overviews where user_id = ? and shared = 1", (asked.user_id,)
    )
    query = f"""select position, 0, logged, 0 from shared_inbox
        where conversation_id = ? and partition = ? and {within}"""
    for (conversation_id,) in large.fetchall():
        sources.append(connection.execute(query, (conversation_id, asked.partition, *span)))
    return sources


def messages(
    connection: sqlite3.Connection,
    conversation_id: str,
    cut: Cut,
    newer: bool,
    limit: int,
    max_bytes: int,
    reader_id: str,
) -> Page[StoredMessage]:
    """HistoryStore.messages."""
    beyond = {(True, False): ">=", (True, True): ">", (False, False): "<", (False, True): "<="}[
        newer, cut.after
    ]
    order = "asc" if newer else "desc"
    found = connection.execute(
        f"""select sent_at_us, sender_id, message_id, event from messages
            where conversation_id = ? and (sent_at_us, sender_id, message_id) {beyond} (?, ?, ?)
            order by sent_at_us {order}, sender_id {order}, message_id {order} limit ?""",
        (conversation_id, *cut.key, limit + 1),
    )
    rows, more = page_of(((row, len(row[3])) for row in found), limit, max_bytes)
    if not rows:
        return Page([], more)
    ends = sorted((rows[0][:3], rows[-1][:3]))
    reactions = _reactions(connection, conversation_id, ends[0], ends[1], reader_id)
    shown = [
        StoredMessage(conversation_id, MessageKey(*row[:3]), row[3], reactions.get(row[:3], ()))
        for row in rows
    ]
    return Page(shown, more)


def named_messages(
    connection: sqlite3.Connection, names: Sequence[tuple[str, MessageKey]], reader_id: str
) -> list[StoredMessage | None]:
    """HistoryStore.named_messages."""
    taking_part = participants(connection, sorted({conversation_id for conversation_id, _ in names}))
    query = """select event from messages
        where conversation_id = ? and sent_at_us = ? and sender_id = ? and message_id = ?"""
    found: list[StoredMessage | None] = []
    for conversation_id, key in names:
        row = None
        if reader_id in taking_part.get(conversation_id, ()):
            row = connection.execute(query, (conversation_id, *key)).fetchone()
        if row is None:
            found.append(None)
        else:
            reactions = _reactions(connection, conversation_id, key, key, reader_id).get(key, ())
            found.append(StoredMessage(conversation_id, key, row[0], reactions))
    return found


_REACTIONS = f"""
select sent_at_us, sender_id, message_id, key, user_id, total, mine from (
    select *, row_number() over (partition by sent_at_us, sender_id, message_id, key order by user_id) as nth,
        count(*) over of_key as total, max(user_id = ?) over of_key as mine,
        dense_rank() over (partition by sent_at_us, sender_id, message_id order by key) as nth_key
    from reactions
    where conversation_id = ? and (sent_at_us, sender_id, message_id) >= (?, ?, ?)
        and (sent_at_us, sender_id, message_id) <= (?, ?, ?) and removed = 0
    window of_key as (partition by sent_at_us, sender_id, message_id, key)
) where nth <= {REACTING_USERS_SHOWN} and nth_key <= {REACTION_KEYS_SHOWN}
order by sent_at_us, sender_id, message_id, key, user_id
"""


def _reactions(
    connection: sqlite3.Connection,
    conversation_id: str,
    first: tuple[int, str, str],
    last: tuple[int, str, str],
    reader_id: str,
) -> dict[tuple[int, str, str], tuple[Reactions, ...]]:
    """Reactions in force to the messages from `first` through `last`, by message."""
    found: dict[tuple[int, str, str], tuple[Reactions, ...]] = {}
    rows = connection.execute(_REACTIONS, (reader_id, conversation_id, *first, *last))
    for (*message, key), group in groupby(rows, key=itemgetter(0, 1, 2, 3)):
        users = list(group)
        name = (message[0], message[1], message[2])
        reactions = Reactions(key, users[0][5], tuple(row[4] for row in users), bool(users[0][6]))
        found[name] = (*found.get(name, ()), reactions)
    return found


def overviews(
    connection: sqlite3.Connection, user_id: str, before: tuple[int, str] | None, limit: int, max_bytes: int
) -> Page[Overview]:
    """HistoryStore.overviews."""
    rows = connection.execute(
        """select conversation_id, last_at_us, participants from (
            select conversation_id, iif(shared, coalesce((select max(sent_at_us) from messages
                where messages.conversation_id = overviews.conversation_id), 0), last_at_us) as last_at_us
            from overviews where user_id = ?
        ) join conversations using (conversation_id)
        where last_at_us > 0 and (last_at_us, conversation_id) < (?, ?)
        order by last_at_us desc, conversation_id desc limit ?""",
        (user_id, *(before or (END.key.sent_at_us, "")), limit + 1),
    ).fetchall()
    seen = (
        _seen_by(connection, user_id, conversation_id, tuple(participants.split("\n")), last_at_us)
        for conversation_id, last_at_us, participants in rows
    )
    return page_of(((each, each.last_message_bytes) for each in seen), limit, max_bytes)


def overview(connection: sqlite3.Connection, user_id: str, conversation_id: str) -> Overview | None:
    """HistoryStore.overview."""
    participants = _participants_of(connection, conversation_id)
    return _seen_by(connection, user_id, conversation_id, participants, None) if participants else None


def _seen_by(
    connection: sqlite3.Connection,
    user_id: str,
    conversation_id: str,
    participants: tuple[str, ...],
    last_at_us: int | None,
) -> Overview:
    """A conversation as the user sees it; `last_at_us` is that of its last message unless it is given."""
    latest = messages(connection, conversation_id, END, False, 1, 0, user_id).items
    if last_at_us is None:
        last_at_us = latest[0].key.sent_at_us if latest else 0
    marks = tuple(
        MarkRow(*row)
        for row in connection.execute(
            f"""select user_id, conversation_id, marker_id, kind, sent_at_us, sender_id, message_id,
                position % {EPOCH}, logged from marks where user_id = ? and conversation_id = ?
                order by marker_id, kind""",
            (user_id, conversation_id),
        )
    )
    own = (
        mark.through for mark in marks if mark.marker_id == user_id and mark.kind == log.EVENT_KIND_READ_MARK
    )
    unread = _unread(connection, user_id, conversation_id, next(own, BEGINNING.key))
    return Overview(conversation_id, participants, last_at_us, latest[0] if latest else None, unread, marks)


def _unread(connection: sqlite3.Connection, user_id: str, conversation_id: str, read: MessageKey) -> int:
    """Messages of others after `read`, counted to UNREAD_CAP. The user's own after it are walked over."""
    (unread,) = connection.execute(
        """select count(*) from (select 1 from messages
            where conversation_id = ? and (sent_at_us, sender_id, message_id) > (?, ?, ?) and sender_id != ?
            limit ?)""",
        (conversation_id, *read, user_id, UNREAD_CAP),
    ).fetchone()
    return int(unread)
