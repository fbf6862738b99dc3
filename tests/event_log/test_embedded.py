"""What only the embedded engine has: its folder, its file, its disk."""

import asyncio
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from event_log import embedded_file
from event_log.embedded import FILE_NAME, RESERVE_NAME, EmbeddedLog, EmbeddedLogSettings
from event_log.embedded_file import OtherLog
from event_log.port import Commit, DeadLetter, Fate, LogFull, LogUnavailable, NewRecord, Settled, Truncated
from event_log.reader import PartitionReader, Verdict
from messaging_core.sqlite import FolderInUse, Reserve
from tests.event_log.driving import PATIENCE_S, Member, append, poll_until

REPOSITORY = Path(__file__).parents[2]


async def open_log(folder: Path, **settings: float | int) -> EmbeddedLog:
    return await EmbeddedLog.open(folder, 4, EmbeddedLogSettings(**{"reserve_bytes": 4096, **settings}))  # type: ignore[arg-type]


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_one_process_a_folder(tmp_path: Path) -> None:
    """A second log in the folder is refused with its name, the other's process and what to do; a closed one lets go."""
    log = await open_log(tmp_path)
    with pytest.raises(FolderInUse, match=f"{re.escape(str(tmp_path))} is in use by process {os.getpid()}"):
        await open_log(tmp_path)
    await log.close()
    await (await open_log(tmp_path)).close()


async def test_the_number_of_partitions_is_for_life(tmp_path: Path) -> None:
    """Another number than the log was made with is refused with both, and one out of bounds before anything is made."""
    await (await open_log(tmp_path)).close()
    with pytest.raises(OtherLog, match="made with 4 partitions and cannot be opened with 8"):
        await EmbeddedLog.open(tmp_path, 8)
    for count in (0, 513):
        with pytest.raises(ValueError, match="1 to 512"):
            await EmbeddedLog.open(tmp_path / "new", count)
    assert not (tmp_path / "new").exists()
    await (await open_log(tmp_path)).close()


async def test_another_format_is_refused(tmp_path: Path) -> None:
    """A file of a later version is refused with both versions."""
    await (await open_log(tmp_path)).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE meta SET value = '9' WHERE name = 'format'")
    connection.close()
    with pytest.raises(OtherLog, match="format 9, this version reads 1"):
        await open_log(tmp_path)


async def test_a_new_log_has_a_new_incarnation(tmp_path: Path) -> None:
    """A log made anew in the same folder is another log."""
    log = await open_log(tmp_path)
    await log.close()
    shutil.rmtree(tmp_path)
    again = await open_log(tmp_path)
    assert again.incarnation != log.incarnation
    await again.close()


async def test_appends_under_way_are_bounded(tmp_path: Path) -> None:
    """Past the bound an append is refused whole; once others are settled it is taken. A callback's error costs none."""
    log = await open_log(tmp_path, max_pending_bytes=10_000)
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
    log = await open_log(tmp_path, tail_bytes=5_000, max_poll_bytes=2_000)
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
    log = await open_log(tmp_path, max_poll_bytes=2_000)
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
    log = await open_log(tmp_path, retention_s=0.0, retention_interval_s=0.01)
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

    log = await open_log(tmp_path)
    member = Member(log, "late")
    await poll_until(lambda: len(member.owned) == 4, member)
    assert [(member.owned[p].start_offset, member.owned[p].end_offset) for p in (0, 1)] == [(10, 10), (4, 10)]
    (settled,) = await append(log, (0, b"next"))
    assert settled.offset == 10
    await member.consumer.close()
    await log.close()


async def test_retention_keeps_the_tail_of_a_reader(tmp_path: Path) -> None:
    """What a commit's tail start names is kept though it is below the offset, and a new owner reads on from it (I4)."""
    log = await open_log(tmp_path, retention_s=0.0, retention_interval_s=0.01)
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

    log = await open_log(tmp_path)
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
    log = await open_log(tmp_path, retention_s=3_600, retention_interval_s=0.01)
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
    log = await open_log(tmp_path, retention_s=0.0, retention_interval_s=0.01)
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
    log = await open_log(tmp_path)
    letter = DeadLetter(2, 7, "not a record", b"\xff\x00")
    await log.dead_letter([letter])
    await log.dead_letter([letter])
    await log.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        assert connection.execute("SELECT * FROM dead_letter").fetchall() == [tuple(letter)]
    connection.close()


async def test_a_full_disk_refuses_appends_and_lets_commits_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When SQLite runs out of room: certainly not appended, then LogFull at once; commits and reads go on; room heals it.

    The room is SQLite's max_page_count, and what it keeps back is the reserve.
    """
    log = await open_log(tmp_path)
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


async def test_opens_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where opening finds no room, the reserve makes some: reads and commits work, appends are refused meanwhile."""
    await (await open_log(tmp_path)).close()
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
    log = await open_log(tmp_path)
    member = Member(log)
    await poll_until(lambda: len(member.owned) == 4, member)
    await member.consumer.commit({0: Commit(0, "")})
    with pytest.raises(LogFull, match="disk is full"):
        log.append([NewRecord(0, b"x", 0)], lambda _: None)
    await member.consumer.close()
    await log.close()


async def test_closing_the_log_closes_its_consumers(tmp_path: Path) -> None:
    """A poll that waits when the log is closed ends with LogUnavailable instead of waiting on."""
    log = await open_log(tmp_path)
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
        (["COMMIT"], Fate.NOT_APPENDED),
        (["BEGIN"], Fate.NOT_APPENDED),
        (["COMMIT", "BEGIN"], Fate.UNKNOWN),
        (["COMMIT", "COMMIT"], Fate.UNKNOWN),
    ],
)
async def test_a_failed_transaction_has_a_certain_fate_or_an_unknown_one(
    tmp_path: Path, failing: list[str], fate: Fate
) -> None:
    """Failed before COMMIT, or with a later transaction durable, it is NOT_APPENDED; else UNKNOWN. The log goes on."""
    log = await open_log(tmp_path)
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
    log = await open_log(tmp_path)
    assert [r.value for r in await log.read(0, 0, 1 << 20)] == [b"before", b"after"]
    assert list(await log.read(1, 0, 1 << 20)) == []
    await log.close()


async def test_a_commit_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A group commit whose transaction fails twice raises LogUnavailable and does not stand; the next one does."""
    log = await open_log(tmp_path)
    member = Member(log)
    await poll_until(lambda: len(member.owned) == 4, member)
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
    log = await open_log(tmp_path)
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


CHILD = """
import asyncio, sys
from pathlib import Path
from event_log.embedded import EmbeddedLog, EmbeddedLogSettings
from event_log.port import Fate, NewRecord

async def main(folder: str, marks: str, records: str) -> None:
    log = await EmbeddedLog.open(Path(folder), 4, EmbeddedLogSettings(reserve_bytes=4096))
    ends = await log.end_offsets(range(4))
    n = sum(ends.values())
    out = open(marks, "ab", buffering=0)
    def told(settled):
        assert all(one.fate is Fate.APPENDED for one in settled)
        out.write(b"".join(b"%d %d %d\\n" % (one.tag % 4, one.offset, one.tag) for one in settled))
    stop = n + int(records)
    while n < stop:
        log.append([NewRecord(i % 4, b"%d:" % i + b"x" * 100, i) for i in range(n, n + 7)], told)
        n += 7
        await asyncio.sleep(0.001)
    await log.close()

asyncio.run(main(*sys.argv[1:]))
"""


def start_child(
    folder: Path, marks: Path, *before: str, records: int = 1_000_000
) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'protos'}"}
    command = [*before, sys.executable, "-c", CHILD, str(folder), str(marks), str(records)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def wait_for_marks(child: "subprocess.Popen[bytes]", marks: Path, size: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not marks.exists() or marks.stat().st_size < size:
        assert child.poll() is None, child.stderr and child.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def kill(child: "subprocess.Popen[bytes]") -> None:
    child.kill()
    child.wait()
    assert child.stderr is not None
    child.stderr.close()


async def all_records(folder: Path) -> dict[tuple[int, int], bytes]:
    """What a log holds, by (partition, offset), after checking that no offset is left out."""
    log = await open_log(folder)
    records = {}
    for partition in range(4):
        at = 0
        while page := await log.read(partition, at, 1 << 20):
            assert [r.offset for r in page] == list(range(at, at + len(page)))
            records.update({(partition, r.offset): r.value for r in page})
            at = page[-1].offset + 1
    await log.close()
    return records


async def check_marks(folder: Path, marks: bytes) -> int:
    """Every record that was told APPENDED, says a child's file, is at its offset; returns how many."""
    records = await all_records(folder)
    told = [tuple(map(int, line.split())) for line in marks.splitlines()]
    for partition, offset, tag in told:
        assert records[partition, offset].split(b":")[0] == b"%d" % tag
    return len(told)


async def test_survives_kill_at_any_moment(tmp_path: Path) -> None:
    """After kill -9 at random moments, again and again, every record that was told APPENDED is there, without holes."""
    random_ = random.Random(3)
    marks = tmp_path / "marks"
    for _ in range(5):
        size = marks.stat().st_size if marks.exists() else 0
        child = start_child(tmp_path / "log", marks)
        await asyncio.to_thread(wait_for_marks, child, marks, size + 1)
        await asyncio.sleep(random_.uniform(0.0, 0.3))
        kill(child)
        os.truncate(marks, marks.read_bytes().rfind(b"\n") + 1)
        assert await check_marks(tmp_path / "log", marks.read_bytes()) > 0


STRACE = shutil.which("strace")
needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


class Disk:
    """What files would hold after a power cut: of each what was written before its last fsync began."""

    def __init__(self) -> None:
        self.written: dict[str, bytearray] = {}
        self.durable: dict[str, bytes] = {}
        self._syncing: dict[str, bytes] = {}

    def begin_sync(self, thread: str, path: str) -> None:
        self._syncing[thread] = bytes(self.written.get(path, b""))

    def end(self, thread: str, call: str, path: str, data: bytes, number: int) -> None:
        content = self.written.setdefault(path, bytearray())
        if call in ("fsync", "fdatasync"):
            self.durable[path] = self._syncing.pop(thread)
        elif call == "ftruncate":
            del content[number:]
        elif call == "pwrite64":
            content.extend(bytes(max(0, number - len(content))))
            content[number : number + len(data)] = data
        elif call == "unlink":
            self.durable.pop(path, None)
            del self.written[path]
        else:
            content.extend(data)

    def save(self, folder: Path) -> Path:
        folder.mkdir()
        for path, content in self.durable.items():
            if Path(path).name.startswith(FILE_NAME):
                (folder / Path(path).name).write_bytes(content)
        return folder


# strace -f -y -xx: `123 pwrite64(7<path>, "data", size, offset) = size`, all strings in hexadecimal.
_CALL = re.compile(
    r"(?P<call>\w+)\((\d+<(?P<file>[^>]*)>|\"(?P<name>[^\"]*)\")(, \"(?P<data>[^\"]*)\")?(, \d+)*?(, (?P<number>\d+))?\)"
    r" += (?P<result>-?\d+)"
)
_SYNC_BEGINS = re.compile(r"f(?:data)?sync\(\d+<(?P<file>[^>]*)>")


def _unhex(text: str | None) -> bytes:
    return bytes.fromhex((text or "").replace("\\x", ""))


def replay(trace: str, marks: Path, disk: Disk) -> Iterator[bytes]:
    """Follow a trace; yields what the child had told, each time it told something."""
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        thread, call = line.split(None, 1)
        if call.startswith("<... "):
            call = begun.pop(thread) + call.partition(" resumed>")[2]
        elif sync := _SYNC_BEGINS.match(call):
            disk.begin_sync(thread, _unhex(sync["file"]).decode())
        if call.endswith(" <unfinished ...>"):
            begun[thread] = call.removesuffix(" <unfinished ...>")
        elif (match := _CALL.match(call)) and not match["result"].startswith("-"):
            path = _unhex(match["file"] or match["name"]).decode()
            disk.end(thread, match["call"], path, _unhex(match["data"]), int(match["number"] or 0))
            if path == str(marks):
                yield bytes(disk.written[path])


@needs_strace
@pytest.mark.timeout(120)
async def test_nothing_told_is_lost_with_what_was_not_synced(tmp_path: Path) -> None:
    """Cut back to what their last fsyncs made durable, at the moment of each fate, the files hold all that was told."""
    marks, trace = tmp_path / "marks", tmp_path / "trace"
    child = start_child(
        tmp_path / "log", marks, str(STRACE), "-f", "-y", "-xx", "-s", "10000000", "-o", str(trace),
        "-e", "trace=pwrite64,write,ftruncate,fsync,fdatasync,unlink", "-e", "signal=none", records=400,
    )  # fmt: skip
    _, errors = await asyncio.to_thread(child.communicate)
    assert child.returncode == 0, errors.decode()
    disk = Disk()
    moments = 0
    for moments, told in enumerate(replay(trace.read_text(), marks, disk), 1):
        folder = disk.save(tmp_path / f"cut{moments}")
        assert await check_marks(folder, told) > 0
        shutil.rmtree(folder)
    assert moments > 10


@needs_strace
async def test_a_failed_fsync_ends_the_process(tmp_path: Path) -> None:
    """When the disk fails an fsync, the process ends at once and says why; what it had told before is there."""
    marks = tmp_path / "marks"
    child = start_child(
        tmp_path / "log", marks, str(STRACE), "-f", "-o", str(tmp_path / "trace"),
        "-e", "inject=fsync,fdatasync:error=EIO:when=30+",
    )  # fmt: skip
    _, errors = await asyncio.to_thread(child.communicate)
    assert child.returncode == os.EX_IOERR, errors.decode()
    assert b"failed to make data durable" in errors
    assert await check_marks(tmp_path / "log", marks.read_bytes()) > 0


async def test_a_torn_write_ahead_log_loses_nothing_told(tmp_path: Path) -> None:
    """Files as they were when a COMMIT returned, with any part of the next transaction behind, hold what that one had.

    And nothing of the torn transaction: appends of one transaction are there all together or not at all.
    """
    log = await open_log(tmp_path / "log")
    images: list[tuple[bytes, bytes]] = []
    path = tmp_path / "log" / FILE_NAME
    wal = path.with_name(f"{FILE_NAME}-wal")
    log._writer._checkpointer.wrote = lambda: images.append((wal.read_bytes(), path.read_bytes()))  # type: ignore[method-assign]
    for n in range(12):
        await append(log, *[(p, b"%d" % n * 50 * n) for p in range(4)])
    await log.close()
    random_ = random.Random(5)
    for n, ((before, main), (after, _)) in enumerate(pairwise(images), 1):
        assert after.startswith(before)
        for cut in (len(before), *(random_.randrange(len(before), len(after)) for _ in range(4))):
            folder = tmp_path / f"{n}.{cut}"
            folder.mkdir()
            (folder / FILE_NAME).write_bytes(main)
            (folder / wal.name).write_bytes(after[:cut])
            assert len(await all_records(folder)) == 4 * n
