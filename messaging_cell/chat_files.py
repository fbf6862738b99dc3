"""The files in which a chat keeps what the next one needs."""

import hashlib
import os
from pathlib import Path


class ChatFiles:
    """Of one user at one cell, in the folder `chat` of the data folder; readable by their owner only."""

    def __init__(self, folder: Path, address: str, user: str) -> None:
        name = hashlib.sha256(f"{address} {user}".encode()).hexdigest()[:32]
        self._folder = folder / "chat"
        self._name = name

    def store(self) -> Path:
        """How far it has come, and what is not sent yet: a FileStore. Raises OSError."""
        return self._made(".db")

    def typed(self) -> Path:
        """The lines that were typed. Raises OSError."""
        return self._made(".typed")

    def _made(self, suffix: str) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / (self._name + suffix)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        return path
