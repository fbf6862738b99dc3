"""What stands for the machine's own faults: a wrong clock, a full disk, a loss of power."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from check.faults.clock import Clock
from check.faults.own_disk import NoOwnDisk, OwnDisk

TELL = "import sys, time\nfor line in sys.stdin: print(time.time_ns(), time.time(), time.monotonic_ns(), flush=True)"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[OwnDisk]:
    try:
        made = OwnDisk(tmp_path / "image", tmp_path / "disk", size_mib=16)
    except NoOwnDisk as why:
        pytest.skip(str(why))
    yield made
    made.unmount()


def test_a_clock_jumps_while_its_process_runs(tmp_path: Path) -> None:
    """Forward and back, for the wall clock only, and for the children of the process, too."""
    clock = Clock(tmp_path / "clock")
    with subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {TELL!r}])"],
        env=os.environ | clock.variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for off_s in (0, 1_000, -1_000, 0.5):
            clock.set(off_s)
            process.stdin.write("now\n")
            wall_ns, wall_s, monotonic_ns = process.stdout.readline().split()
            expected_s = time.time() + off_s
            assert abs(int(wall_ns) / 1e9 - expected_s) < 100
            assert abs(float(wall_s) - expected_s) < 100
            assert abs(int(monotonic_ns) - time.monotonic_ns()) < 100e9
        process.stdin.close()


def test_a_full_disk_has_no_room_until_it_is_freed(disk: OwnDisk) -> None:
    """Nothing more fits; afterwards it does."""
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        (disk.folder / "file").write_bytes(bytes(100_000))
    disk.free()
    (disk.folder / "file").write_bytes(bytes(100_000))


def test_a_loss_of_power_does_not_bring_the_ballast_back(disk: OwnDisk) -> None:
    """A disk that was freed stays so, although nobody has synced that."""
    disk.fill()
    os.sync()
    disk.free()
    disk.lose_power()
    disk.restore()
    (disk.folder / "file").write_bytes(bytes(100_000))


def test_a_loss_of_power_takes_what_was_not_synced(disk: OwnDisk) -> None:
    """What was synced is there, and nothing else is, neither in a file nor in a folder."""
    with (disk.folder / "synced").open("wb") as file:
        file.write(b"synced")
        file.flush()
        os.fsync(file.fileno())
        file.write(b" and not synced")
        file.flush()
        (disk.folder / "never").write_bytes(b"never synced")
        disk.lose_power()
        with pytest.raises(OSError, match="error"):
            os.fsync(file.fileno())
    disk.restore()
    assert (disk.folder / "synced").read_bytes() == b"synced"
    assert not (disk.folder / "never").exists()
