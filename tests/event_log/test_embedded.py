"""What only the embedded engine has: its folder, its file, its disk."""

import asyncio
import os
import re
import resource
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from event_log import embedded_file
from event_log.embedded import FILE_NAME, RESERVE_NAME, EmbeddedLog
from event_log.embedded_file import OtherLog
from event_log.port import (
    Commit,
    DeadLetter,
    Fate,
    LogError,
    LogFull,
    LogUnavailable,
    NewRecord,
    Settled,
    Truncated,
)
from event_log.reader import PartitionReader, Verdict
from messaging_core.sqlite import FolderInUse, Reserve
from tests.event_log.driving import PATIENCE_S, Member, append, poll_until
from tests.event_log.engines import open_embedded
from tests.event_log.world import origin


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_one_process_a_folder(tmp_path: Path) -> None:
    """A second log in the folder is refused with its name, the other's process and what to do; a closed one lets go."""
    log = await open_embedded(tmp_path)
    with pytest.raises(FolderInUse, match=f"{re.escape(str(tmp_path))} is in use by process {os.getpid()}"):
        await open_embedded(tmp_path)
    await log.close()
    await (await open_embedded(tmp_path)).close()


async def test_who_sets_the_clock_does_not_move_append_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two records are as far apart as they were: else a try would be taken for a new message (R3)."""
    log = await open_embedded(tmp_path)
    await append(log, (0, b"a"))
    day_later_ns = time.time_ns() + 86_400 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: day_later_ns)
    await append(log, (0, b"b"))
    first, second = await log.read(0, 0, 1_000)
    assert 0 <= second.append_time_us - first.append_time_us < PATIENCE_S * 1e6
    await log.close()


async def test_the_number_of_partitions_is_for_life(tmp_path: Path) -> None:
    """Another number than the log was made with is refused with both, and one out of bounds before anything is made."""
    await (await open_embedded(tmp_path)).close()
    with pytest.raises(OtherLog, match="made with 4 partitions and cannot be opened with 8"):
        await EmbeddedLog.open(tmp_path, 8)
    for count in (0, 513):
        with pytest.raises(ValueError, match="1 to 512"):
            await EmbeddedLog.open(tmp_path / "new", count)
    assert not (tmp_path / "new").exists()
    await (await open_embedded(tmp_path)).close()


async def test_another_format_is_refused(tmp_path: Path) -> None:
    """A file of a later version is refused with both versions."""
    await (await open_embedded(tmp_path)).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE meta SET value = '9' WHERE name = 'format'")
    connection.close()
    with pytest.raises(OtherLog, match="format 9, this version reads 1"):
        await open_embedded(tmp_path)


async def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    """Something else under the log's name is refused by its path, left as it is, and the folder is free again."""
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 100)
    for _ in range(2):
        with pytest.raises(LogError, match=rf"{FILE_NAME} cannot be used as a log: file is not a database"):
            await open_embedded(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == b"not a database" * 100


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE meta SET value = CAST(x'ff' AS TEXT) WHERE name = 'incarnation'",
        "DELETE FROM meta WHERE name = 'format'",
        "UPDATE meta SET value = 'x' WHERE name = 'epoch'",
        "INSERT INTO trimmed VALUES (99, 1, 1)",
        "INSERT INTO trimmed VALUES (-1, 1, 1)",
        "INSERT INTO batch VALUES (99 << 40, 0, x'00000000')",
        "INSERT INTO batch VALUES (0, 0, x'00')",
        "INSERT INTO committed VALUES ('delivery', 99, 1, '')",
    ],
    ids=[
        "no text",
        "a name gone",
        "no number",
        "no such partition",
        "below all partitions",
        "records of no partition",
        "no records",
        "a commit of no partition",
    ],
)
async def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    """By its path, and as a log that cannot be used, where what it is read for at once is not as it was written."""
    await (await open_embedded(tmp_path)).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(damage)
    connection.close()
    with pytest.raises(LogError, match=rf"{FILE_NAME} cannot be used as a log: "):
        await open_embedded(tmp_path)


async def test_a_garbled_file_is_refused(tmp_path: Path) -> None:
    """SQLite quotes what it finds in it, which need not be text."""
    await (await open_embedded(tmp_path)).close()
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE \xff\xfeBLE"))
    with pytest.raises(
        LogError, match=f"{FILE_NAME} cannot be used as a log: the file is damaged .*UnicodeDecodeError"
    ):
        await open_embedded(tmp_path)


async def test_a_full_disk_is_named_when_it_does_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite says "disk I/O error" where it has no room for its index in memory. The reserve is given up first."""
    await (await open_embedded(tmp_path)).close()
    reserve_was_there = []

    def full(path: Path, partition_count: int) -> NoReturn:
        reserve_was_there.append((tmp_path / RESERVE_NAME).exists())
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
        raise error

    monkeypatch.setattr(embedded_file, "open_file", full)
    with pytest.raises(LogError, match=f"no space is left on the disk of {tmp_path}"):
        await open_embedded(tmp_path)
    assert reserve_was_there == [True, False]


async def test_a_new_log_has_a_new_incarnation(tmp_path: Path) -> None:
    """A log made anew in the same folder is another log."""
    log = await open_embedded(tmp_path)
    await log.close()
    shutil.rmtree(tmp_path)
    again = await open_embedded(tmp_path)
    assert again.incarnation != log.incarnation
    await again.close()


async def test_appends_under_way_are_bounded(tmp_path: Path) -> None:
    """Past the bound an append is refused whole; once others are settled it is taken. A callback's error costs none."""
    log = await open_embedded(tmp_path, max_pending_bytes=10_000)
    told: list[Settled[int]] = []

    def on_settled(settled: Sequence[Settled[int]]) -> None:
        told.extend(settled)
        raise RuntimeError("a caller's mistake")

    taken = 0
    with pytest.raises(LogFull, match="bytes of appends are under way"):
        for taken in range(1_000):
            log.append([NewRecord(0, bytes(1_000), taken)], on_settled)
    assert 5 < taken < 20
    await eventually(lambda: len(told) == taken)
    await append(log, (0, bytes(20_000)))
    assert (await log.end_offsets([0]))[0] == taken + 1
    await log.close()


async def test_memory_is_bounded_and_what_left_it_is_read_from_the_file(tmp_path: Path) -> None:
    """Consumers behind the records in memory read the file and get the same; a slow one and a quick one see all."""
    log = await open_embedded(tmp_path, tail_bytes=5_000, max_poll_bytes=2_000)
    quick, slow = Member(log, "quick"), Member(log, "slow")
    for n in range(60):
        await append(log, *[(p, b"%d" % n * 100) for p in range(4)])
        await quick.poll(0)
    await poll_until(lambda: quick.count == slow.count == 240, quick, slow)
    assert quick.records == slow.records
    assert not log.tail.has(0, 0)
    assert log.tail.has(0, 59)
    for member in (quick, slow):
        await member.consumer.close()
    await log.close()


async def test_polls_are_bounded_and_fair(tmp_path: Path) -> None:
    """A poll returns about its bound in bytes, and partitions take turns."""
    log = await open_embedded(tmp_path, max_poll_bytes=2_000)
    for _ in range(10):
        await append(log, *[(p, bytes(500)) for p in range(4) for _ in range(3)])
    member = Member(log)
    await poll_until(lambda: len(member.owned) == 4, member)
    turns = []
    while member.count < 120:
        polled = await member.consumer.poll(1)
        size = sum(len(r.value) for _, records in polled.records for r in records)
        assert 0 < size <= 2_500
        turns += [partition for partition, _ in polled.records]
        for partition, records in polled.records:
            member.records[partition] += records
    assert set(turns[:4]) == {0, 1, 2, 3}
    await member.consumer.close()
    await log.close()


async def test_retention_keeps_what_a_group_needs(tmp_path: Path) -> None:
    """Old records go, but never those at or above any group's tail start, and offsets never start again."""
    log = await open_embedded(tmp_path, retention_s=0.0, retention_interval_s=0.01)
    for n in range(10):
        await append(log, (0, b"%d" % n), (1, b"%d" % n))
    delivery, history = Member(log, "delivery"), Member(log, "history")
    await poll_until(lambda: delivery.count == history.count == 20, delivery, history)
    await asyncio.sleep(0.1)
    assert len(await log.read(0, 0, 1 << 20)) == 10, "trimmed though nothing was committed"
    await delivery.consumer.commit({0: Commit(10, ""), 1: Commit(10, "")})
    await asyncio.sleep(0.1)
    assert len(await log.read(0, 0, 1 << 20)) == 10, "trimmed though a group has not committed"
    await history.consumer.commit({0: Commit(10, ""), 1: Commit(4, "")})
    async with asyncio.timeout(PATIENCE_S):
        for partition, start in ((0, 10), (1, 4)):
            while True:
                try:
                    await log.read(partition, start - 1, 1)
                except Truncated:
                    break
                await asyncio.sleep(0.01)
    assert [r.value for r in await log.read(1, 4, 1 << 20)] == [b"%d" % n for n in range(4, 10)]
    delivery.consumer.seek(1, 3)
    with pytest.raises(Truncated):
        await delivery.poll()
    for member in (delivery, history):
        await member.consumer.close()
    await log.close()

    log = await open_embedded(tmp_path)
    member = Member(log, "late")
    await poll_until(lambda: len(member.owned) == 4, member)
    assert [(member.owned[p].start_offset, member.owned[p].end_offset) for p in (0, 1)] == [(10, 10), (4, 10)]
    (settled,) = await append(log, (0, b"next"))
    assert settled.offset == 10
    await member.consumer.close()
    await log.close()


async def test_retention_keeps_the_tail_of_a_reader(tmp_path: Path) -> None:
    """What a commit's tail start names is kept though it is below the offset, and a new owner reads on from it (I4)."""
    log = await open_embedded(tmp_path, retention_s=0.0, retention_interval_s=0.01)
    member = Member(log)
    await append(log, *[(0, origin("ann", f"id-{n}")) for n in range(10)])
    await poll_until(lambda: member.count == 10, member)
    owner = PartitionReader(0, log.incarnation, 4, member.owned[0])
    for record in member.records[0]:
        owner.read(record)
    commit = owner.commit_at(10)
    await member.consumer.commit({0: commit, 1: Commit(0, "")})
    await asyncio.sleep(0.1)
    assert len(await log.read(0, 0, 1 << 20)) == 10
    await member.consumer.close()
    await log.close()

    log = await open_embedded(tmp_path)
    await append(log, (0, origin("ann", "id-3")), (0, origin("ann", "new")))
    member = Member(log)
    await poll_until(lambda: 0 in member.owned, member)
    owner = PartitionReader(0, log.incarnation, 4, member.owned[0])
    assert (owner.tail_start, owner.acts_from, owner.exact_from) == (0, 10, 10)
    member.consumer.seek(0, owner.tail_start)
    await poll_until(lambda: member.count == 12, member)
    readings = [owner.read(record) for record in member.records[0]]
    assert [reading.verdict for reading in readings[10:]] == [Verdict.DUPLICATE, Verdict.EFFECTIVE]
    await member.consumer.close()
    await log.close()


async def test_retention_keeps_young_records(tmp_path: Path) -> None:
    """Records younger than the retention stay, whatever is committed."""
    log = await open_embedded(tmp_path, retention_s=3_600, retention_interval_s=0.01)
    await append(log, (0, b"a"))
    member = Member(log)
    await poll_until(lambda: member.count == 1, member)
    await member.consumer.commit({0: Commit(1, "")})
    await asyncio.sleep(0.1)
    assert len(await log.read(0, 0, 1)) == 1
    await member.consumer.close()
    await log.close()


async def test_retention_goes_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is old, one transaction deletes a step's worth, and all of it goes in the end."""
    monkeypatch.setattr(embedded_file, "TRIM_STEP_BATCHES", 3)
    log = await open_embedded(tmp_path, retention_s=0.0, retention_interval_s=0.01)
    member = Member(log)
    for n in range(11):
        await append(log, (0, b"%d" % n), (3, b"%d" % n))
    await poll_until(lambda: member.count == 22, member)
    await member.consumer.commit({0: Commit(11, ""), 3: Commit(11, "")})
    rows = sqlite3.connect(tmp_path / FILE_NAME)
    await eventually(lambda: rows.execute("SELECT count(*) FROM batch").fetchone() == (0,))
    rows.close()
    await member.consumer.close()
    await log.close()


async def test_dead_letters_are_in_their_table(tmp_path: Path) -> None:
    """Unreadable records are kept with their reason, once, for people to look at."""
    log = await open_embedded(tmp_path)
    letter = DeadLetter(2, 7, "not a record", b"\xff\x00")
    await log.dead_letter([letter])
    await log.dead_letter([letter])
    await log.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        assert connection.execute("SELECT * FROM dead_letter").fetchall() == [tuple(letter)]
    connection.close()


async def test_dead_letters_have_a_bound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Beyond it letters are not kept, which is logged, until others are gone; those that are there stay."""
    log = await open_embedded(tmp_path, max_dead_letter_bytes=3_000)
    letters = [DeadLetter(0, offset, "why", bytes(1_000)) for offset in range(5)]
    await log.dead_letter(letters[:2])
    assert "dead letters are full" not in caplog.text
    await log.dead_letter(letters[1:4])
    assert "dead letters are full: 2 of 3 are not kept" in caplog.text
    assert [letter.offset async for letter in log.dead_letters()] == [0, 1]
    await log.forget_dead_letters([(0, 0)])
    await log.dead_letter([letters[4]])
    assert [letter.offset async for letter in log.dead_letters()] == [1, 4]
    await log.close()


async def test_letters_of_older_files_are_read(tmp_path: Path) -> None:
    """The table of the first versions gets the columns that it lacks; its letters are told with what they have."""
    await (await open_embedded(tmp_path)).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        for column in ("append_time_us", "time_us", "counted"):
            connection.execute(f"ALTER TABLE dead_letter DROP COLUMN {column}")
        connection.execute("INSERT INTO dead_letter VALUES (1, 2, 'old', x'ff')")
    connection.close()
    log = await open_embedded(tmp_path)
    assert [letter async for letter in log.dead_letters()] == [DeadLetter(1, 2, "old", b"\xff")]
    await log.close()


async def test_a_full_disk_refuses_appends_and_lets_commits_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When SQLite runs out of room: certainly not appended, then LogFull at once; commits and reads go on; room heals it.

    The room is SQLite's max_page_count, and what it keeps back is the reserve.
    """
    log = await open_embedded(tmp_path)
    await append(log, (0, b"before"))
    member = Member(log)
    await poll_until(lambda: member.count == 1, member)
    connection = log._writer._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    room = False
    monkeypatch.setattr(Reserve, "restore", lambda self: room)
    settled = await append(log, (0, bytes(500_000)), (1, b"with it"))
    assert [s.fate for s in settled] == [Fate.NOT_APPENDED] * 2
    assert not (tmp_path / RESERVE_NAME).exists()
    with pytest.raises(LogFull, match="disk is full"):
        log.append([NewRecord(0, b"x", 0)], lambda _: None)
    await member.consumer.commit({0: Commit(1, "still")})
    assert await log.end_offsets([0, 1]) == {0: 1, 1: 0}
    connection.execute("PRAGMA max_page_count = 1000000")
    room = True
    await eventually(lambda: not log._full)
    (settled_after,) = await append(log, (0, b"after"))
    assert settled_after == Settled(0, Fate.APPENDED, 1)
    assert [r.value for r in await log.read(0, 0, 1 << 20)] == [b"before", b"after"]
    await member.consumer.close()
    await log.close()


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """Writes beyond fail as those beyond a quota do: not with ENOSPC, so that SQLite speaks of an I/O error."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def test_a_limit_that_is_no_full_disk_is_one_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a quota: certainly not appended, the reserve is given up, then LogFull at once; room heals it."""
    log = await open_embedded(tmp_path, reserve_bytes=1 << 20)
    await append(log, (0, b"before"))
    with file_size_limit(1 << 19):
        settled = await append(log, *((0, bytes(200_000)) for _ in range(5)))
        assert {s.fate for s in settled} == {Fate.NOT_APPENDED}
        assert "disk I/O error" in caplog.text
        assert not (tmp_path / RESERVE_NAME).exists()
        with pytest.raises(LogFull, match="disk is full"):
            log.append([NewRecord(0, b"x", 0)], lambda _: None)
    await eventually(lambda: not log._full)
    (after,) = await append(log, (0, b"after"))
    assert after == Settled(0, Fate.APPENDED, 1)
    await log.close()
    log = await open_embedded(tmp_path)
    assert [r.value for r in await log.read(0, 0, 1 << 20)] == [b"before", b"after"]
    await log.close()


async def test_opens_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where opening finds no room, the reserve makes some: reads and commits work, appends are refused meanwhile."""
    await (await open_embedded(tmp_path)).close()
    opening = embedded_file.open_file

    def needs_room(path: Path, partition_count: int) -> embedded_file.LogState:
        if (tmp_path / RESERVE_NAME).exists():
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        monkeypatch.setattr(Reserve, "restore", lambda self: False)
        return opening(path, partition_count)

    assert (tmp_path / RESERVE_NAME).exists()
    monkeypatch.setattr(embedded_file, "open_file", needs_room)
    log = await open_embedded(tmp_path)
    member = Member(log)
    await poll_until(lambda: len(member.owned) == 4, member)
    await member.consumer.commit({0: Commit(0, "")})
    with pytest.raises(LogFull, match="disk is full"):
        log.append([NewRecord(0, b"x", 0)], lambda _: None)
    await member.consumer.close()
    await log.close()


async def test_closing_the_log_closes_its_consumers(tmp_path: Path) -> None:
    """A poll that waits when the log is closed ends with LogUnavailable instead of waiting on."""
    log = await open_embedded(tmp_path)
    member = Member(log)
    await poll_until(lambda: len(member.owned) == 4, member)
    waiting = asyncio.create_task(member.consumer.poll(PATIENCE_S))
    await asyncio.sleep(0.01)
    await log.close()
    with pytest.raises(LogUnavailable):
        await waiting


class FailingConnection:
    """A connection on which the statements that a test names fail, as a disk that is at fault would make them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.failing: list[str] = []

    def execute(self, statement: str, *parameters: object) -> sqlite3.Cursor:
        if self.failing and statement.startswith(self.failing[0]):
            self.failing.pop(0)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
            raise error
        return self.connection.execute(statement, *parameters)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self.connection, name)


@pytest.mark.parametrize(
    ("failing", "fate"),
    [
        (["INSERT"], Fate.NOT_APPENDED),
        (["INSERT", "BEGIN"], Fate.UNKNOWN),
        (["INSERT", "COMMIT"], Fate.UNKNOWN),
    ],
)
async def test_a_failed_transaction_has_a_certain_fate_or_an_unknown_one(
    tmp_path: Path, failing: list[str], fate: Fate
) -> None:
    """Failed before COMMIT, or with a later transaction durable, it is NOT_APPENDED; else UNKNOWN. The log goes on."""
    log = await open_embedded(tmp_path)
    await append(log, (0, b"before"))
    writer = FailingConnection(log._writer._connection)
    log._writer._connection = writer  # type: ignore[assignment]
    writer.failing = list(failing)
    settled = await append(log, (0, b"lost"), (1, b"lost too"))
    assert [s.fate for s in settled] == [fate, fate]
    assert not writer.failing
    (after,) = await append(log, (0, b"after"))
    assert after.offset == 1
    assert [r.value for r in await log.read(0, 0, 1 << 20)] == [b"before", b"after"]
    await log.close()
    log = await open_embedded(tmp_path)
    assert [r.value for r in await log.read(0, 0, 1 << 20)] == [b"before", b"after"]
    assert list(await log.read(1, 0, 1 << 20)) == []
    await log.close()


@pytest.mark.parametrize(
    ("failing", "fate"),
    [
        (["BEGIN"], Fate.NOT_APPENDED),
        (["COMMIT"], Fate.NOT_APPENDED),
        (["COMMIT", "BEGIN"], Fate.UNKNOWN),
        (["COMMIT", "COMMIT"], Fate.UNKNOWN),
    ],
)
async def test_records_beside_a_commit_have_such_a_fate_too_and_the_commit_stands(
    tmp_path: Path, failing: list[str], fate: Fate
) -> None:
    """Records that share a transaction with a group's commit fail as they would alone; the commit is written again."""
    log = await open_embedded(tmp_path)
    member = Member(log)
    await poll_until(lambda: len(member.owned) == 4, member)
    await append(log, (1, b"the group is written before this"))
    writer = FailingConnection(log._writer._connection)
    log._writer._connection = writer  # type: ignore[assignment]
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # holds up the writer until both wait for it
    before = asyncio.create_task(append(log, (0, b"before")))
    await eventually(lambda: not log._writer._queue.qsize() and log._pending_bytes > 0)
    writer.failing = list(failing)
    lost = asyncio.create_task(append(log, (0, b"lost")))
    commit = asyncio.create_task(member.consumer.commit({0: Commit(0, "kept")}))
    await eventually(lambda: log._writer._queue.qsize() == 2)
    other.execute("ROLLBACK")
    other.close()
    assert [s.fate for s in await before] == [Fate.APPENDED]
    assert [s.fate for s in await lost] == [fate]
    await commit
    assert not writer.failing
    assert await log.committed("group", [0]) == {0: Commit(0, "kept")}
    assert [r.value for r in await log.read(0, 0, 1 << 20)] == [b"before"]
    await member.consumer.close()
    await log.close()


async def test_a_commit_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A group commit whose transaction fails twice raises LogUnavailable and does not stand; the next one does."""
    log = await open_embedded(tmp_path)
    member = Member(log)
    await poll_until(lambda: len(member.owned) == 4, member)
    await append(log, (1, b"the group is written before this"))
    writer = FailingConnection(log._writer._connection)
    log._writer._connection = writer  # type: ignore[assignment]
    writer.failing = ["INSERT", "INSERT"]
    with pytest.raises(LogUnavailable, match="disk I/O error"):
        await member.consumer.commit({0: Commit(0, "lost")})
    assert await log.committed("group", [0]) == {}
    await member.consumer.commit({0: Commit(0, "kept")})
    assert await log.committed("group", [0]) == {0: Commit(0, "kept")}
    await member.consumer.close()
    await log.close()


async def test_the_loop_stays_free(tmp_path: Path) -> None:
    """While a transaction is held up, the loop runs, appends queue up, and end offsets answer."""
    log = await open_embedded(tmp_path)
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    told: list[Settled[int]] = []
    longest_s = 0.0
    for n in range(50):
        before = time.perf_counter()
        log.append([NewRecord(0, b"%d" % n, n)], told.extend)
        await log.end_offsets([0])
        await asyncio.sleep(0)
        longest_s = max(longest_s, time.perf_counter() - before)
        await asyncio.sleep(0.001)
    assert not told
    assert longest_s < 1.0  # the lock is waited for much longer, in the writer's thread
    other.execute("ROLLBACK")
    other.close()
    await eventually(lambda: len(told) == 50)
    await log.close()
