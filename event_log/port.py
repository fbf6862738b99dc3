"""The log port: what every engine promises to the rest of the cell."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Container, Iterable, Mapping, Sequence
from enum import Enum
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

from telemetry.metrics import Figure

Tag = TypeVar("Tag")

MAX_PARTITIONS = 512
"""More, and what a commit must carry no longer fits (R2)."""
MAX_RECORD_BYTES = 1_000_000
"""Of a record's value: what Kafka's brokers take by default, less what goes around it."""
MAX_METADATA_CHARS = 4_096
"""Of what a commit carries: Kafka's offset.metadata.max.bytes by default."""


class LogError(Exception):
    """The log cannot do what it was asked."""


class LogFull(LogError):
    """The buffer of appends under way is full, or the disk is. Nothing of the batch was taken: it is certainly not done."""


class LogUnavailable(LogError):
    """The log cannot be reached now; try again."""


class CommitFenced(LogError):
    """This consumer no longer owns the partition; another one's commit stands."""


class Truncated(LogError):
    """The log no longer has a record that must be read."""


class Fate(Enum):
    """What became of an append (R4)."""

    APPENDED = "appended"
    """Durable; readers will see it at its offset."""
    NOT_APPENDED = "not appended"
    """It is not in the log and never will be."""
    UNKNOWN = "unknown"
    """It may be in the log, or may land there yet."""


class NewRecord(NamedTuple, Generic[Tag]):
    """A record to append."""

    partition: int
    value: bytes
    tag: Tag
    """The caller's own; comes back in Settled."""


class Settled(NamedTuple, Generic[Tag]):
    """The fate of one record."""

    tag: Tag
    fate: Fate
    offset: int
    """Where it is; -1 unless appended."""


class LogRecord(NamedTuple):
    """A record as it is read."""

    offset: int
    append_time_us: int
    """When the log took it, microseconds since 1970, by the log's clock; it may go back a little from record to record."""
    value: bytes


class Commit(NamedTuple):
    """How far a group has come in a partition."""

    offset: int
    """The first record not yet done with."""
    metadata: str
    """What a new owner needs to go on (R2); at most MAX_METADATA_CHARS ASCII characters."""


def checked_bytes(records: Iterable[NewRecord[Any]], partition_count: int, overhead_bytes: int) -> int:
    """What these records and `overhead_bytes` for each take. Raises ValueError where one cannot be appended."""
    size_bytes = 0
    for partition, value, _ in records:
        if not 0 <= partition < partition_count:
            raise ValueError(f"partition is 0 to {partition_count - 1}, not {partition}")
        if len(value) > MAX_RECORD_BYTES:
            raise ValueError(f"a record has at most {MAX_RECORD_BYTES} bytes, not {len(value)}")
        size_bytes += len(value) + overhead_bytes
    return size_bytes


def check_commits(commits: Mapping[int, Commit]) -> None:
    """Whether engines can keep these. Raises ValueError."""
    for partition, (offset, metadata) in commits.items():
        if offset < 0 or len(metadata) > MAX_METADATA_CHARS or not metadata.isascii():
            raise ValueError(
                f"partition {partition}: a commit has an offset of 0 or more and at most"
                f" {MAX_METADATA_CHARS} ASCII characters of metadata"
            )


def check_seek(partition: int, offset: int, assigned: Container[int]) -> None:
    """Whether a consumer with these partitions can read from there. Raises ValueError."""
    if partition not in assigned:
        raise ValueError(f"partition {partition} is not assigned")
    if offset < 0:
        raise ValueError(f"offset {offset} is below 0")


class Assignment(NamedTuple):
    """A partition that this consumer owns from now on."""

    partition: int
    generation: int
    """Rises with every change of owners in the group, across restarts of everything (R7)."""
    committed: Commit | None
    start_offset: int
    """The first record the log still has."""
    end_offset: int
    """One above the last record when the partition was assigned."""


class Polled(NamedTuple):
    """What happened since the last poll; to be taken in the order of the fields."""

    revoked: tuple[int, ...]
    """No longer owned. Work of them may be committed until the next poll."""
    assigned: tuple[Assignment, ...]
    records: tuple[tuple[int, Sequence[LogRecord]], ...]
    """(partition, its next records in order, without holes but for what retention took)."""


class DeadLetter(NamedTuple):
    """A record that nobody can read (R5)."""

    partition: int
    offset: int
    reason: str
    value: bytes
    append_time_us: int = 0
    """When the log took the record, microseconds since 1970; 0 where that is not known."""
    time_us: int = 0
    """Newest event time of the partition through this record, as Reading has it."""
    counted: bool = False
    """Whether it counted for R1 and R3 all the same, so that what came after it was decided with it."""

    @property
    def place(self) -> tuple[int, int]:
        """(partition, offset): names it."""
        return self.partition, self.offset


class GroupConsumer(ABC):
    """A member of a consumer group: each partition of the log has one owner among the group's live members.

    Used by one task, beside which another one may be in `commit`. Reading starts at the committed offset (the log's start if
    there is none) unless `seek` says otherwise.
    """

    @abstractmethod
    async def poll(self, timeout_s: float) -> Polled:
        """Wait until there is something to tell, at most `timeout_s`. Bounded in bytes. Raises LogUnavailable."""

    @abstractmethod
    def seek(self, partition: int, offset: int) -> None:
        """Read an owned partition from `offset` on. Poll raises Truncated if the log's start is above it."""

    @abstractmethod
    def pause(self, partitions: Iterable[int]) -> None:
        """Return no records of these until `resume` (R6). No effect on a partition that is not owned, or not any more."""

    @abstractmethod
    def resume(self, partitions: Iterable[int]) -> None:
        """Return their records again, without losing any."""

    def lag(self) -> Mapping[int, int]:
        """For each partition that is read, how many records are known to be in the log and were not returned yet."""
        return {}

    @abstractmethod
    async def commit(self, commits: Mapping[int, Commit]) -> None:
        """Make these durable. Raises CommitFenced if a partition is no longer this member's, LogUnavailable, ValueError."""

    @abstractmethod
    async def close(self) -> None:
        """Leave the group; others take over at once. Commits nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class EventLog(ABC):
    """A partitioned, durable, append-only log.

    Records of a partition have rising offsets. Appends of one caller to one partition land in the order of the calls, but
    one may fail while a later one lands (R1 copes). Everything here belongs to one event loop.
    """

    @property
    @abstractmethod
    def incarnation(self) -> str:
        """Names this log for good: one made anew in its place has another."""

    @property
    @abstractmethod
    def partition_count(self) -> int:
        """Partitions, 1 to 512, for the life of the log."""

    @abstractmethod
    def partition_of(self, user_id: str) -> int:
        """The user's partition: Kafka's default, murmur2 of the key modulo the count."""

    @abstractmethod
    def append(
        self, records: Sequence[NewRecord[Tag]], on_settled: Callable[[Sequence[Settled[Tag]]], None]
    ) -> None:
        """Start appending records, each on its own. Never blocks; batches with what others append.

        `on_settled` is called on the event loop, never from within this call, with as many fates at a time as are known
        together: each record once, in order within a partition, APPENDED only after it is durable. It must not raise. Raises
        LogFull, LogUnavailable, or ValueError for a partition or size out of bounds, before any was taken.
        """

    def figures(self) -> Iterable[Figure]:
        """What it counts of appends."""
        return ()

    @abstractmethod
    def consumer(self, group: str) -> GroupConsumer:
        """Join a group. Close what this returns."""

    @abstractmethod
    async def read(self, partition: int, offset: int, max_bytes: int) -> Sequence[LogRecord]:
        """Records from `offset` on, at least one if there is one. Raises Truncated, LogUnavailable."""

    @abstractmethod
    async def end_offsets(self, partitions: Iterable[int]) -> Mapping[int, int]:
        """For each partition one above its last durable record, read after the call was made.

        Without those that cannot be reached now, for which the others do not wait long (I14). Raises LogUnavailable if that
        is all of them.
        """

    @abstractmethod
    async def committed(self, group: str, partitions: Iterable[int]) -> Mapping[int, Commit]:
        """What a group last committed, where it ever did. Raises LogUnavailable."""

    @abstractmethod
    async def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """Keep unreadable records, durably; the same place twice is one. Raises LogUnavailable.

        Where an engine has a bound for them, those beyond it are not kept, which is logged.
        """

    @abstractmethod
    def dead_letters(self) -> AsyncIterator[DeadLetter]:
        """Those that are kept, each once, one after the other. Raises LogUnavailable."""

    @abstractmethod
    async def forget_dead_letters(self, places: Collection[tuple[int, int]]) -> None:
        """Keep these no longer, durably. Raises LogUnavailable."""

    @abstractmethod
    async def close(self) -> None:
        """Settle what is under way and stop. Consumers must be closed before."""
