"""Files that appear whole, or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from messaging_cell.files import write_draft, write_whole


def test_a_file_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """With nothing beside it, and for its owner only; its folder is made."""
    path = tmp_path / "new" / "keys.json"
    for content in (b"first", b"second"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_failed_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves the file as it was and nothing beside it; when there is room again it is written."""
    path = tmp_path / "keys.json"
    write_whole(path, b"before")
    with monkeypatch.context() as failing:

        def no_room(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        failing.setattr(os, "fsync", no_room)
        for _ in range(2):
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                write_whole(path, b"after")
            assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"before"
    write_whole(path, b"after")
    assert path.read_bytes() == b"after"


def test_what_a_crash_has_left_is_in_nobodys_way(tmp_path: Path) -> None:
    """Also where the process has the same id again, as in a container."""
    left = [write_draft(tmp_path / "keys.json", b"left") for _ in range(2)]
    write_whole(tmp_path / "keys.json", b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "keys.json", *left])
