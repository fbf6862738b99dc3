"""A small disk of the cell's own, an ext4 file system in a file: it can be full, and it can lose its power.

A loss of power is the file system's own shutdown, without its journal's last entries: whatever was not synced is gone, in
the files and in the folders. It takes root and loop devices, as on most Linux machines.
"""

import fcntl
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

_SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)."""
_WITHOUT_LOG = struct.pack("I", 2)
"""EXT4_GOING_FLAGS_NOLOGFLUSH."""
_MIB = 1 << 20
_PATIENCE_S = 20.0


class NoOwnDisk(Exception):
    """This machine, or this user, cannot have one; the message says why."""


class OwnDisk:
    """Mounted at `folder`."""

    def __init__(self, image: Path, folder: Path, size_mib: int = 512) -> None:
        """Make and mount it. Raises NoOwnDisk."""
        self.folder = folder
        self._image = image
        if os.geteuid() != 0:
            raise NoOwnDisk("a disk of the cell's own takes root")
        if shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            raise NoOwnDisk("a disk of the cell's own takes mkfs.ext4 (Debian: apt-get install e2fsprogs)")
        folder.mkdir()
        with image.open("wb") as file:
            file.truncate(size_mib * _MIB)
        self._run("mkfs.ext4", "-q", "-m", "0", str(image))
        self._mount()

    def fill(self) -> None:
        """Take all the room that is left."""
        with self._ballast.open("ab") as file:
            for step in (64 * _MIB, _MIB, 4096):
                while self._take(file.fileno(), step):
                    continue

    def free(self) -> None:
        """Give it back."""
        self._ballast.unlink(missing_ok=True)

    def lose_power(self) -> None:
        """From now on nothing is written any more; what was not synced is gone. `restore` when nobody has a file open."""
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, _WITHOUT_LOG)
        finally:
            os.close(folder)

    def restore(self) -> None:
        """After a loss of power: it has what it had, but for the ballast, whose end may not have been synced."""
        self.unmount()
        self._mount()
        self.free()

    def unmount(self) -> None:
        """Take it away; when nobody has a file open."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while self.folder.is_mount():
            try:
                self._run("umount", str(self.folder))
            except NoOwnDisk:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.1)

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def _take(self, file: int, size: int) -> bool:
        try:
            os.posix_fallocate(file, os.fstat(file).st_size, size)
        except OSError:
            return False
        return True

    def _mount(self) -> None:
        self._run("mount", "-o", "loop", str(self._image), str(self.folder))

    def _run(self, *command: str) -> None:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise NoOwnDisk(f"{' '.join(command)}: {ran.stderr.strip()}")
