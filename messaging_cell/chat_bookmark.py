"""Where a chat stopped."""

import hashlib
import json
import os
from pathlib import Path


class Bookmark:
    """Where a user's chat stopped, kept in a small file, so that the next one shows what was missed."""

    def __init__(self, folder: Path, address: str, user: str) -> None:
        name = hashlib.sha256(f"{address} {user}".encode()).hexdigest()[:32]
        self._path = folder / "chat" / f"{name}.json"
        self._facts = {"address": address, "user": user}

    def read(self) -> str | None:
        """The cursor; None where there is none."""
        try:
            cursor = json.loads(self._path.read_text())["cursor"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return cursor if isinstance(cursor, str) else None

    def write(self, cursor: str) -> None:
        """Replace it. Where that cannot be, the next chat shows more than was missed."""
        draft = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps({**self._facts, "cursor": cursor}))
            draft.replace(self._path)
        except OSError:
            pass
