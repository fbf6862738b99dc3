"""What the embedded store writes. Each statement can be run again, whatever was written since, and changes nothing."""

import sqlite3
from itertools import chain

from history_service.embedded_file import EPOCH, epoch_of
from history_service.port import Batch

ADD_CONVERSATION = "insert into conversations values (?, ?) on conflict do nothing"
_STATEMENTS = {
    "messages": "insert into messages values (?, ?, ?, ?, ?) on conflict do nothing",
    "inbox": "insert into inbox values (?, {base} + ?, ?) on conflict do nothing",
    "shared_inbox": "insert into shared_inbox values (?, ?, {base} + ?, ?) on conflict do nothing",
    "reactions": """insert into reactions values (?, ?, ?, ?, ?, ?, {base} + ?, ?) on conflict do update
        set position = excluded.position, removed = excluded.removed where excluded.position > position""",
    "marks": """insert into marks values (?, ?, ?, ?, ?, ?, ?, {base} + ?, ?) on conflict do update
        set sent_at_us = excluded.sent_at_us, sender_id = excluded.sender_id, message_id = excluded.message_id,
            position = excluded.position, logged = excluded.logged
        where (excluded.sent_at_us, excluded.sender_id, excluded.message_id, excluded.position)
            > (sent_at_us, sender_id, message_id, position)""",
    "gaps": "insert into gaps values (?, {base} + ?, ?) on conflict do nothing",
}
"""How the rows of each list of a Batch, or of its lists by partition, are written; `base` is the position of offset 0."""


def write(connection: sqlite3.Connection, batch: Batch) -> None:
    """HistoryStore.write, within a transaction."""
    epoch = _epoch(connection, batch.incarnation)
    for name, statement in _STATEMENTS.items():
        rows = getattr(batch, name)
        if rows:
            all_rows = chain.from_iterable(rows.values()) if isinstance(rows, dict) else rows
            connection.executemany(statement.format(base=epoch * EPOCH), all_rows)
    connection.executemany(
        ADD_CONVERSATION, [(name, "\n".join(users)) for name, users in batch.conversations.items()]
    )
    connection.executemany(
        """insert into overviews values (?, ?, ?, 0) on conflict do update
            set last_at_us = excluded.last_at_us where excluded.last_at_us > last_at_us""",
        [(*name, last_at_us) for name, last_at_us in batch.activity.items()],
    )
    connection.executemany(
        "insert into overviews values (?, ?, 0, 1) on conflict do update set shared = 1 where shared = 0",
        batch.memberships,
    )
    connection.executemany(
        """insert into positions values (?, ?, ?, ?) on conflict do update
            set through = excluded.through, time_us = max(time_us, excluded.time_us) where excluded.through > through""",
        [(epoch, partition, *persisted) for partition, persisted in batch.positions.items()],
    )


def _epoch(connection: sqlite3.Connection, incarnation: str) -> int:
    epoch = epoch_of(connection, incarnation)
    if epoch is None:
        connection.execute("insert into incarnations (incarnation) values (?)", (incarnation,))
        epoch = epoch_of(connection, incarnation)
        assert epoch is not None
    return epoch
