"""What a log engine must offer to be put through the behaviour suite, and those that do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from event_log.embedded import EmbeddedLog, EmbeddedLogSettings
from event_log.kafka import KafkaLog, KafkaLogSettings, make_topics
from event_log.port import EventLog
from tests.support.engines import unique_name

PARTITIONS = 4


class Engine(Protocol):
    """One log, which can be opened, closed and opened again."""

    async def open(self) -> EventLog:
        """A new connection to the same log, of PARTITIONS partitions. The test closes it."""
        ...


class EmbeddedEngine:
    def __init__(self, folder: Path, settings: EmbeddedLogSettings | None = None) -> None:
        self.folder = folder
        self.settings = settings or EmbeddedLogSettings(reserve_bytes=4096)

    async def open(self) -> EmbeddedLog:
        return await EmbeddedLog.open(self.folder, PARTITIONS, self.settings)


class KafkaEngine:
    def __init__(self, servers: Sequence[str], copies: int = 1, **settings: Any) -> None:
        self.copies = copies
        self.settings = KafkaLogSettings(
            **{
                "servers": tuple(servers),
                "topic": unique_name("log"),
                "partitions": PARTITIONS,
                "development": copies == 1,
                **settings,
            }
        )
        self._made = False

    async def open(self) -> KafkaLog:
        if not self._made:
            await make_topics(self.settings, self.copies, 2 * self.settings.least_retention_s)
            self._made = True
        return await KafkaLog.open(self.settings)


async def open_embedded(folder: Path, **settings: Any) -> EmbeddedLog:
    """An embedded log with settings of its own."""
    return await EmbeddedLog.open(
        folder, PARTITIONS, EmbeddedLogSettings(**{"reserve_bytes": 4096, **settings})
    )
