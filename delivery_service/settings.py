"""What can be set of the delivery service."""

import uuid
from dataclasses import dataclass, field

from delivery_service.forwarding import ForwardingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """Defaults are for production."""

    instance_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Names this instance to servers: a link of the same instance replaces the older one (R7)."""
    window_bytes: int = 16 * 1024 * 1024
    """Memory of the recent window, for each partition owned (R8)."""
    reply_bytes: int = 1024 * 1024
    """Most bytes of pieces in one reply to an attach, whatever its credit."""
    forwarding: ForwardingSettings = field(default_factory=ForwardingSettings)
    commit_interval_s: float = 1.0
    """Time between commits, 1 to 5 s; what a new owner has to forward again (R2)."""
    through_interval_s: float = 0.1
    """Least time between two Through of a partition that moves (I8); also how often failed copies are looked at."""
    poll_timeout_s: float = 0.1
    """Longest wait for records before what comes with time is looked at."""
    hand_over_timeout_s: float = 0.5
    """How long a partition that is given up waits for appends in flight, so that the next owner repeats less."""
    reread_bytes: int = 2 * 1024 * 1024
    """Read from the log at a time for sessions older than the window that history cannot serve yet. More than the largest
    record and the distance of two anchors, so that every read gets on."""
    link_pause_bytes: int = 8 * 1024 * 1024
    """Queued on a link: past this its attaches wait, so that a stampede cannot fill the link's queue."""
    min_backoff_s: float = 0.1
    max_backoff_s: float = 5.0
    """Of dialing a server, and of asking a log that is away."""
