"""What an application may set. Each bound is here, with its outcome when full."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Settings of one client. The defaults suit an application on a phone as well as a bot."""

    client_id: str = ""
    """Names this installation, for the cell's logs: at most 64 bytes."""
    client_info: str = "messaging_client (Python)"
    """Name and version of the software, for the cell's logs: at most 128 bytes."""
    resume_after: str | None = None
    """Where the first start begins: None = with a snapshot (`Started`), "" = with all events that are kept, else behind this
    cursor."""
    receives_events: bool = True
    """False for programs that only send: events are looked at for outcomes, and `Client.events` has none."""
    acknowledges: bool = True
    """Whether an event that the application has taken is acknowledged, so that senders are told of it."""
    in_order: bool = True
    """Whether messages to the same place are sent one after the other, so that no retry changes their order."""

    max_outbox_commands: int = 10_000
    """Commands without an outcome. Beyond: OUTBOX_FULL."""
    max_outbox_bytes: int = 67_108_864
    """The same in bytes, each command counted with 512 more. Beyond: OUTBOX_FULL."""
    max_event_bytes: int = 4_194_304
    """Events waiting for the application, each counted with 1,024 more. Beyond: the stream is read only while a command
    waits for its outcome. Beyond twice as much: events are left in the cell, and had again when half of this is free."""
    max_in_flight: int = 256
    """Commands given to a stream and without an outcome; the cell's own limit holds too. Beyond: they wait in the outbox."""

    backoff_s: float = 1.0
    """Longest pause before the first new attempt to connect; it doubles with each failure (full jitter)."""
    max_backoff_s: float = 30.0
    """Longest pause of all."""
    open_timeout_s: float = 10.0
    """How long a stream may take to open. Longer: it is broken."""
    pong_timeout_s: float = 15.0
    """How long a pong may take. Longer: the stream is broken."""
    ping_interval_s: float = 30.0
    """Time between pings, where the cell advises none."""
    leave_s: float = 5.0
    """How long outcomes are waited for before the client leaves a stream of its own accord."""
