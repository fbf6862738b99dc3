"""What the cell takes from a client. Each number is a setting; the defaults are here, once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what one client may ask, told to it in Welcome.limits."""

    max_content_bytes: int = 65_536
    max_recipients: int = 1_000
    max_commands_per_frame: int = 64
    max_in_flight: int = 256
    max_sends_per_second: int = 1_000
    max_mark_participants: int = 16
    """Read marks are told to others, and inbox rows are written per user, up to this many participants (I13)."""
    hello_timeout_s: float = 10.0
    ping_interval_s: float = 30.0
    max_frame_bytes: int = 1_048_576
    """Bytes of one frame from a client."""


DEDUP_WINDOW_S = 60.0
"""W of R3: a record is dropped if an earlier one of its user has the same id within this time."""
ACCEPT_DEADLINE_S = 15.0
"""D of R3: no Accepted later than this after a record was stamped."""
RETRY_WINDOW_S = DEDUP_WINDOW_S - 2 * ACCEPT_DEADLINE_S
"""How long a client may retry blindly (R3). What is left of W is for a last try on its way: D for a pause of the server that
it does not notice as one, D for holding the command and for the log to land it. It is no less than these 2 D, so that a
client knows from it when a try can no longer land."""
