"""The embedded log's file: its format, and everything that reads or writes it. All of it blocks; it knows no threads.

`log.db` is one SQLite database. What one group commit appends to one partition is one row of `batch`:

- `id` is partition * 2**40 + offset of its first record, so that a partition is one run of rows in order;
- `append_time_us` is when the log took it, microseconds since 1970, the same for all of its records;
- `records` is a count n, then n lengths, each as four little-endian bytes, then the values, one after the other.

A partition's next offset is one above its last record in `batch`. Retention deletes whole rows from the front and notes in
`trimmed`, in the same transaction, where the partition then starts and what its next offset was: so offsets are never given
twice, though the table may be empty. `meta` holds the format, the incarnation, the number of partitions, the epoch, which
rises each time the log is opened, and the number of failed transactions. `consumer_group` names every group that ever
joined, `committed` how far each has come; `dead_letter` keeps records that nobody could read.
"""

import secrets
import sqlite3
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from event_log.port import Commit, DeadLetter, LogError, LogRecord, Truncated
from messaging_core.sqlite import connect

FORMAT = "1"
_SHIFT = 40
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE batch (id INTEGER PRIMARY KEY, append_time_us INTEGER NOT NULL, records BLOB NOT NULL) STRICT;
CREATE TABLE trimmed (
    partition INTEGER PRIMARY KEY, start_offset INTEGER NOT NULL, next_offset INTEGER NOT NULL
) STRICT;
CREATE TABLE consumer_group (name TEXT PRIMARY KEY) WITHOUT ROWID, STRICT;
CREATE TABLE committed (
    name TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL, metadata TEXT NOT NULL,
    PRIMARY KEY (name, partition)
) WITHOUT ROWID, STRICT;
CREATE TABLE dead_letter (
    partition INTEGER NOT NULL, record_offset INTEGER NOT NULL, reason TEXT NOT NULL, value BLOB NOT NULL,
    append_time_us INTEGER NOT NULL DEFAULT 0, time_us INTEGER NOT NULL DEFAULT 0, counted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (partition, record_offset)
) WITHOUT ROWID, STRICT;
"""
_SELECT_BATCHES = """
SELECT id, append_time_us, records FROM batch
WHERE id >= ifnull((SELECT max(id) FROM batch WHERE id BETWEEN ? AND ?), ?) AND id < ? ORDER BY id
"""
_LETTER_OVERHEAD_BYTES = 64
_LETTER_BYTES = f"length(value) + length(reason) + {_LETTER_OVERHEAD_BYTES}"
_HAS_LETTER = "SELECT 1 FROM dead_letter WHERE partition = ? AND record_offset = ?"
TRIM_STEP_BYTES = 4 << 20
TRIM_STEP_BATCHES = 256


class OtherLog(LogError):
    """The file is a log, but not the one that was asked for."""


@dataclass(slots=True)
class LogState:
    """What is known of a log when it is opened."""

    incarnation: str
    epoch: int
    """How often the log was opened, this time included."""
    start_offsets: list[int]
    next_offsets: list[int]
    committed: dict[str, dict[int, Commit]]
    """By group, then partition; every group that ever joined is there."""


def open_file(path: Path, partition_count: int) -> LogState:
    """Make the log if there is none, and begin a new epoch of it.

    Raises OtherLog, sqlite3.Error; ValueError, LookupError, struct.error where rows are not as they were written.
    """
    connection = connect(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
            _create(connection, partition_count)
        meta = dict(connection.execute("SELECT name, value FROM meta"))
        _verify(path, meta, partition_count)
        _add_letter_columns(connection)
        epoch = int(meta["epoch"]) + 1
        connection.execute("UPDATE meta SET value = ? WHERE name = 'epoch'", (str(epoch),))
        starts, ends = _offsets(connection, partition_count)
        committed = _committed(connection, partition_count)
        connection.execute("COMMIT")
        return LogState(meta["incarnation"], epoch, starts, ends, committed)
    finally:
        connection.close()


def _create(connection: sqlite3.Connection, partition_count: int) -> None:
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    meta = {
        "format": FORMAT,
        "incarnation": secrets.token_urlsafe(16),
        "partition_count": str(partition_count),
        "epoch": "0",
        "failures": "0",
    }
    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())


def _verify(path: Path, meta: Mapping[str, str], partition_count: int) -> None:
    if meta["format"] != FORMAT:
        raise OtherLog(f"{path} has format {meta['format']}, this version reads {FORMAT}")
    if meta["partition_count"] != str(partition_count):
        raise OtherLog(
            f"{path} was made with {meta['partition_count']} partitions and cannot be opened with {partition_count}:"
            " a user's partition would be another one"
        )


def _add_letter_columns(connection: sqlite3.Connection) -> None:
    """Those that files of the first versions do not have."""
    there = {row[1] for row in connection.execute("PRAGMA table_info(dead_letter)")}
    for name in ("append_time_us", "time_us", "counted"):
        if name not in there:
            connection.execute(f"ALTER TABLE dead_letter ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0")


def _offsets(connection: sqlite3.Connection, partition_count: int) -> tuple[list[int], list[int]]:
    starts, ends = [0] * partition_count, [0] * partition_count
    for partition, start, end in connection.execute("SELECT * FROM trimmed"):
        _check(partition, partition_count)
        starts[partition], ends[partition] = start, end
    for (most,) in connection.execute("SELECT id FROM batch ORDER BY id DESC LIMIT 1"):
        _check(most >> _SHIFT, partition_count)
    for partition in range(partition_count):
        last = connection.execute(
            "SELECT id, records FROM batch WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
            (_id(partition, 0), _id(partition + 1, -1)),
        ).fetchone()
        if last:
            ends[partition] = last[0] - _id(partition, 0) + batch_length(last[1])
    return starts, ends


def _check(partition: int, partition_count: int) -> None:
    if not 0 <= partition < partition_count:
        raise LookupError(f"there is something of a partition {partition}")


def _committed(connection: sqlite3.Connection, partition_count: int) -> dict[str, dict[int, Commit]]:
    committed: dict[str, dict[int, Commit]] = {
        name: {} for (name,) in connection.execute("SELECT name FROM consumer_group")
    }
    for name, partition, offset, metadata in connection.execute("SELECT * FROM committed"):
        _check(partition, partition_count)
        committed.setdefault(name, {})[partition] = Commit(offset, metadata)
    return committed


def _id(partition: int, offset: int) -> int:
    return (partition << _SHIFT) + offset


def pack_batch(values: Sequence[bytes]) -> bytes:
    """The records of one row."""
    count = len(values)
    return b"".join((struct.pack(f"<{count + 1}I", count, *map(len, values)), *values))


def batch_length(records: bytes) -> int:
    """How many records a row has."""
    (count,) = struct.unpack_from("<I", records)
    return int(count)


def unpack_batch(records: bytes) -> list[bytes]:
    """Read what `pack_batch` made."""
    count = batch_length(records)
    at = 4 * (count + 1)
    values = []
    for length in struct.unpack_from(f"<{count}I", records, 4):
        values.append(records[at : at + length])
        at += length
    return values


def insert_batches(
    connection: sqlite3.Connection, append_time_us: int, batches: Iterable[tuple[int, int, Sequence[bytes]]]
) -> None:
    """Append (partition, first offset, values), in one statement: each one is a thread switch, when others are busy."""
    rows: list[int | bytes] = []
    for partition, offset, values in batches:
        rows += (_id(partition, offset), append_time_us, pack_batch(values))
    connection.execute(f"INSERT INTO batch VALUES {','.join(['(?,?,?)'] * (len(rows) // 3))}", rows)


def insert_group(connection: sqlite3.Connection, group: str) -> None:
    """Remember a group for good: retention waits for it."""
    connection.execute("INSERT OR IGNORE INTO consumer_group VALUES (?)", (group,))


def write_commits(connection: sqlite3.Connection, group: str, commits: Mapping[int, Commit]) -> None:
    """Replace what a group committed."""
    rows = [value for partition, commit in commits.items() for value in (group, partition, *commit)]
    connection.execute(
        f"INSERT OR REPLACE INTO committed VALUES {','.join(['(?,?,?,?)'] * len(commits))}", rows
    )


def write_dead_letters(connection: sqlite3.Connection, letters: Sequence[DeadLetter], max_bytes: int) -> int:
    """Keep them, each place once, as long as all of them take at most `max_bytes`; how many were not kept."""
    (size,) = connection.execute(f"SELECT ifnull(sum({_LETTER_BYTES}), 0) FROM dead_letter").fetchone()
    left = 0
    for letter in letters:
        its_size = len(letter.value) + len(letter.reason) + _LETTER_OVERHEAD_BYTES
        if connection.execute(_HAS_LETTER, letter.place).fetchone():
            continue
        if size + its_size > max_bytes:
            left += 1
            continue
        size += its_size
        connection.execute("INSERT INTO dead_letter VALUES (?, ?, ?, ?, ?, ?, ?)", letter)
    return left


def read_dead_letters(connection: sqlite3.Connection, after: tuple[int, int], limit: int) -> list[DeadLetter]:
    """The next ones above a place, in the order of their places."""
    rows = connection.execute(
        """SELECT partition, record_offset, reason, value, append_time_us, time_us, counted FROM dead_letter
            WHERE (partition, record_offset) > (?, ?) ORDER BY partition, record_offset LIMIT ?""",
        (*after, limit),
    )
    return [DeadLetter(*row)._replace(counted=bool(row[-1])) for row in rows]


def delete_dead_letters(connection: sqlite3.Connection, places: Iterable[tuple[int, int]]) -> None:
    """Keep these no longer."""
    connection.executemany("DELETE FROM dead_letter WHERE partition = ? AND record_offset = ?", places)


def trim(
    connection: sqlite3.Connection, older_than_us: int, floors: Mapping[int, int], ends: Sequence[int]
) -> dict[int, int]:
    """Delete rows taken before a time whose records are all below their partition's floor, oldest first, a step's worth.

    Tells the new starts; none if there was nothing to delete. `ends` are the partitions' next offsets.
    """
    starts: dict[int, int] = {}
    batches, bytes_left = TRIM_STEP_BATCHES, TRIM_STEP_BYTES
    for partition, floor in floors.items():
        rows = connection.execute(
            "SELECT id, append_time_us, length(records) FROM batch WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
            (_id(partition, 0), _id(partition, floor), batches + 1),
        ).fetchall()
        next_offsets = [row[0] - _id(partition, 0) for row in rows[1:]] + [ends[partition]]
        for (_, append_time_us, size), next_offset in zip(rows, next_offsets, strict=False):
            if append_time_us >= older_than_us or next_offset > floor or batches <= 0 or bytes_left <= 0:
                break
            starts[partition] = next_offset
            batches -= 1
            bytes_left -= size
    for partition, start in starts.items():
        connection.execute(
            "DELETE FROM batch WHERE id >= ? AND id < ?", (_id(partition, 0), _id(partition, start))
        )
        connection.execute(
            "INSERT OR REPLACE INTO trimmed VALUES (?, ?, ?)", (partition, start, ends[partition])
        )
    return starts


def read(
    connection: sqlite3.Connection, partition: int, offset: int, end: int, max_bytes: int
) -> list[LogRecord]:
    """Records from `offset` to below `end`, at least one if there is one, else at most `max_bytes`. Raises Truncated."""
    records: list[LogRecord] = []
    first, last = _id(partition, 0), _id(partition, offset)
    with closing(connection.execute(_SELECT_BATCHES, (first, last, last, _id(partition, end)))) as batches:
        for batch_id, append_time_us, packed in batches:
            for at, value in enumerate(unpack_batch(packed), batch_id - first):
                if offset <= at < end:
                    max_bytes -= len(value)
                    if records and max_bytes < 0:
                        return records
                    records.append(LogRecord(at, append_time_us, value))
            if not records or records[0].offset > offset:
                raise Truncated(f"partition {partition}: record {offset} is gone")
    if not records and offset < end:
        raise Truncated(f"partition {partition}: record {offset} is gone")
    return records
