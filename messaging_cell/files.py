"""Files that appear whole: a reader sees the old one or the new one."""

import os
from pathlib import Path
from tempfile import mkstemp


def write_whole(path: Path, content: bytes) -> None:
    """Put this in the place of what was there; on disk when it returns, readable by its owner only. Raises OSError."""
    draft = write_draft(path, content)
    try:
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_draft(path: Path, content: bytes) -> Path:
    """A file beside it, on disk, to be given its name; none where this fails. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = mkstemp(prefix=f"{path.name}.", dir=path.parent)  # readable by its owner only
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(name)
        raise
    return Path(name)
