"""What may be set of the embedded log."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedLogSettings:
    """What may be set; the defaults suit one machine with a few GiB."""

    retention_s: float = 86_400.0
    """How long records are kept at least. Those that a group still needs are kept longer."""
    retention_interval_s: float = 10.0
    """How often it is looked whether there are records to delete."""
    max_pending_bytes: int = 64 << 20
    """Appends under way. Beyond: an append is refused with LogFull, unless it is alone."""
    max_cycle_bytes: int = 1 << 20
    """Appends in one transaction, and at most one append more. Beyond: they wait for the next transaction."""
    tail_bytes: int = 32 << 20
    """The newest records in memory, of all partitions together. Beyond: readers that lag behind read the file."""
    max_poll_bytes: int = 1 << 20
    """Records in one poll, and at most one record more. Beyond: they come with the next poll."""
    max_dead_letter_bytes: int = 64 << 20
    """Dead letters. Beyond: the next ones are not kept, which is logged; they are shown as gaps all the same."""
    reserve_bytes: int = 16 << 20
    """Room set aside for deletions when the disk is full."""
