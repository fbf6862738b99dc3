"""What may be set of the embedded log."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedLogSettings:
    """What may be set; the defaults suit one machine with a few GiB."""

    retention_s: float = 86_400.0
    """How long records are kept at least. Those that a group still needs are kept longer."""
    retention_interval_s: float = 10.0
    max_pending_bytes: int = 64 << 20
    max_cycle_bytes: int = 1 << 20
    tail_bytes: int = 32 << 20
    max_poll_bytes: int = 1 << 20
    reserve_bytes: int = 16 << 20
    """Room set aside for deletions when the disk is full."""
