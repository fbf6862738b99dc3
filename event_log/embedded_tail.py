"""The newest records of the embedded log in memory: what consumers that keep up read, all groups the same objects."""

from collections import deque

from event_log.port import LogRecord

_OVERHEAD_BYTES = 200
"""Of a record in memory, beside its value."""


class _Partition:
    __slots__ = ("base", "dropped", "records")

    def __init__(self) -> None:
        self.records: list[LogRecord | None] = []
        self.base = 0
        """Offset of records[0]."""
        self.dropped = 0
        """Records at the front that are None, until there are enough of them to be worth a move of the others."""

    def drop(self, count: int) -> None:
        self.records[self.dropped : self.dropped + count] = [None] * count
        self.dropped += count
        if 2 * self.dropped >= len(self.records):
            del self.records[: self.dropped]
            self.base += self.dropped
            self.dropped = 0


class Tail:
    """Keeps at most `max_bytes` of the records that were added last, whatever their partition."""

    def __init__(self, partition_count: int, max_bytes: int) -> None:
        self._partitions = [_Partition() for _ in range(partition_count)]
        self._added: deque[tuple[_Partition, int, int]] = deque()
        self._bytes_left = max_bytes

    def add(self, partition: int, records: list[LogRecord]) -> None:
        """Add the next records of a partition."""
        kept = self._partitions[partition]
        if not kept.records:
            kept.base = records[0].offset
        kept.records += records
        size = sum([len(record.value) for record in records]) + _OVERHEAD_BYTES * len(records)
        self._added.append((kept, len(records), size))
        self._bytes_left -= size
        while self._bytes_left < 0:
            oldest, count, size = self._added.popleft()
            oldest.drop(count)
            self._bytes_left += size

    def has(self, partition: int, offset: int) -> bool:
        """Whether the record at `offset`, which the log has, is here."""
        kept = self._partitions[partition]
        return kept.base + kept.dropped <= offset < kept.base + len(kept.records)

    def read(self, partition: int, offset: int, max_bytes: int) -> list[LogRecord]:
        """Records from one that is here on: at least one, else at most `max_bytes`."""
        kept = self._partitions[partition]
        records: list[LogRecord] = []
        for at in range(offset - kept.base, len(kept.records)):
            record = kept.records[at]
            assert record is not None
            max_bytes -= len(record.value)
            if max_bytes < 0 and records:
                break
            records.append(record)
        return records
