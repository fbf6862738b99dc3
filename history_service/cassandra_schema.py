"""The tables of history in Cassandra: what they hold, how they are made, and whether a keyspace has them.

Keys are bounded in what a partition of Cassandra can grow to: a conversation is cut into times (`bucket_of`), what the log's
partitions tell into ranges of positions (POSITIONS_PER_BUCKET).

Tables
    schema_version        version of these tables
    incarnations          of the log, numbered as they come. `position` below is number * EPOCH + offset, so positions of a
                          later incarnation are above those of earlier ones
    positions             how far each partition is stored, by (incarnation, partition); the write's timestamp is the offset
    conversations         who takes part, ids joined by line feeds, by conversation
    conversation_buckets  the buckets of a conversation that have messages
    messages              by (conversation, bucket), then in the conversation's order
    reactions             by (conversation, bucket), then message, key, user. The timestamp is the origin's position,
                          and a removal is a value, so the highest origin wins whatever the order of writes (I11)
    marks                 by user who was told, then conversation, marker, kind. The timestamp is sent_at of the message
                          that is marked, and of equal ones Cassandra keeps the greater `value`, which begins with the rest
                          of the message's place: the highest message wins (I11)
    activity              by user, the small conversations that have messages; the timestamp is last_at_us
    memberships           by user, the large conversations
    events                what each reader is told, by (partition of the log, bucket), then reader and position. A reader is
                          a user, a large conversation, or everyone (a gap). So what a consumer writes at a time is in few
                          partitions of Cassandra, and goes there as few mutations. Rows live for the inbox's time
    event_marks           as marks, of one bucket of positions: what a user who returns is told of marks. They live as long
    event_starts          positions from which on `events` are there in full, by partition of the log. Said now and then,
                          with the rows that follow. They live a day less than those: while one is there, so are the rows
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

VERSION = 1
EPOCH = 2**48
"""Positions of one log incarnation."""
POSITIONS_PER_BUCKET = 2**16
"""Records of one partition of `events`: some 25 MB at 400 bytes each."""
DAY_S = 86_400
DEFAULT_INBOX_DAYS = 30
"""How long a client may be away and still be told each event one by one; after that it is told of a gap, and reloads."""
_USER_DAYS_PER_BUCKET = 16
_LEAST_BUCKET_US = 3_600 * 1_000_000

READER_EVERYONE, READER_USER, READER_CONVERSATION = "", "u", "c"
"""First letters of `reader`."""

_EXPIRING = """ with default_time_to_live = {ttl} and compaction = {{'class': 'TimeWindowCompactionStrategy',
    'compaction_window_unit': 'DAYS', 'compaction_window_size': 1}}"""

TABLES: Mapping[str, str] = {
    "schema_version": "(scope text primary key, version int)",
    "incarnations": "(scope text, number int, incarnation text, primary key (scope, number))",
    "positions": "(incarnation text, partition int, through bigint, time_us bigint, primary key ((incarnation, partition)))",
    "conversations": "(conversation_id text primary key, participants text)",
    "conversation_buckets": "(conversation_id text, bucket bigint, primary key (conversation_id, bucket))",
    "messages": """(conversation_id text, bucket bigint, sent_at_us bigint, sender_id text, message_id text, event blob,
    primary key ((conversation_id, bucket), sent_at_us, sender_id, message_id))""",
    "reactions": """(conversation_id text, bucket bigint, sent_at_us bigint, sender_id text, message_id text, key text,
    user_id text, removed boolean,
    primary key ((conversation_id, bucket), sent_at_us, sender_id, message_id, key, user_id))""",
    "marks": """(user_id text, conversation_id text, marker_id text, kind int, sent_at_us bigint, value blob,
    primary key (user_id, conversation_id, marker_id, kind))""",
    "activity": "(user_id text, conversation_id text, last_at_us bigint, primary key (user_id, conversation_id))",
    "memberships": "(user_id text, conversation_id text, primary key (user_id, conversation_id))",
    "events": """(partition int, bucket bigint, reader text, position bigint, logged blob, time_us bigint,
    primary key ((partition, bucket), reader, position))""",
    "event_marks": """(partition int, bucket bigint, user_id text, conversation_id text, marker_id text, kind int,
    sent_at_us bigint, value blob, primary key ((partition, bucket), user_id, conversation_id, marker_id, kind))""",
    "event_starts": "(partition int, position bigint, primary key (partition, position))",
}


class Replication(NamedTuple):
    """Where the rows of a keyspace are kept."""

    datacenter: str
    factor: int


def statements(
    keyspace: str, replication: Replication, inbox_days: int = DEFAULT_INBOX_DAYS
) -> Iterator[str]:
    """CQL that makes the keyspace and its tables where they are missing, in order; run again it changes nothing."""
    yield (
        f"create keyspace if not exists {keyspace} with replication = "
        f"{{'class': 'NetworkTopologyStrategy', '{replication.datacenter}': {replication.factor}}}"
    )
    for name, columns in TABLES.items():
        yield f"create table if not exists {keyspace}.{name} {columns}{_lifetime(name, inbox_days)}"
    yield f"insert into {keyspace}.schema_version (scope, version) values ('history', {VERSION})"


def bucket_of(sent_at_us: int, participant_count: int) -> int:
    """The bucket of a message: some days of a small conversation, hours of a large one, so that neither grows too large."""
    width_us = max(_LEAST_BUCKET_US, _USER_DAYS_PER_BUCKET * DAY_S * 1_000_000 // max(1, participant_count))
    return sent_at_us // width_us


def _lifetime(table: str, inbox_days: int) -> str:
    """Longer than asked for by what the rows of `event_starts` are apart, and by the day that these live less."""
    if table in ("events", "event_marks"):
        return _EXPIRING.format(ttl=(inbox_days + 2) * DAY_S)
    if table == "event_starts":
        return f" with default_time_to_live = {(inbox_days + 1) * DAY_S}"
    return ""
