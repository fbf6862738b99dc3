"""What was told APPENDED is there: after kill -9, a power cut, torn files and a failed fsync."""

import asyncio
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from event_log.embedded import FILE_NAME
from tests.event_log.driving import PATIENCE_S, append
from tests.event_log.engines import open_embedded

REPOSITORY = Path(__file__).parents[2]


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
    log = await open_embedded(folder)
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
    log = await open_embedded(tmp_path / "log")
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
