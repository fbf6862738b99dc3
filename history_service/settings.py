"""What can be set of the history service."""

from dataclasses import dataclass, field

from messaging_core.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySettings:
    """Bounds and times of the history service."""

    limits: Limits = field(default_factory=Limits)
    store_interval_s: float | None = None
    """Records are stored no more often than this, and at once where none came for as long; None: as suits the store,
    HistoryStore.write_interval_s."""
    full_round_bytes: int = 524_288
    """A round of so much is large enough, and there may be more: the next one follows at once. What a poll brings is
    bounded, so history would otherwise fall behind for good where more comes."""
    commit_interval_s: float = 1.0
    """How long stored records may stay uncommitted: what a new owner stores again."""
    retry_min_s: float = 0.1
    retry_max_s: float = 5.0
    """While the store or the log is away, tries are this far apart: from the least, doubling, to the most."""
    max_page_bytes: int = 2_097_152
    """A page ends before it is larger, but has at least one item: half of what gRPC clients take in one message."""
