"""What a messaging server can be told. Each queue's bound is here, with its outcome when full."""

from dataclasses import dataclass, field

from messaging_core.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Settings of one messaging server; the defaults suit a process of 64k streams."""

    server_id: str
    """Names this server in Welcome and logs."""
    cell_id: str = "cell"
    """Names the cell in Welcome."""
    limits: Limits = field(default_factory=Limits)

    max_streams: int = 65_536
    """Streams of this server. Beyond: a new stream is refused, RESOURCE_EXHAUSTED."""
    max_streams_per_user: int = 32
    """Streams of one user on this server. Beyond: a new stream is refused, RESOURCE_EXHAUSTED."""

    event_buffer_bytes: int = 262_144
    """Events waiting to be written to one stream. Beyond: the session is detached and attached again when drained (R12)."""
    outcome_buffer_bytes: int = 262_144
    """Outcomes waiting to be written to one stream. Beyond: no more commands are read from it."""
    frame_bytes: int = 262_144
    """Updates joined into one frame, unless a single one is larger. gRPC clients take frames of 4 MiB unless set lower."""
    in_flight_bytes: int = 4_194_304
    """Content of a stream's commands that have no outcome yet. Beyond: TOO_MANY_IN_FLIGHT."""
    held_bytes: int = 67_108_864
    """Content of all streams' commands that wait for a conversation's participants. Beyond: UNAVAILABLE, not done."""
    hold_s: float = 5.0
    """How long a command may wait for that. Longer: UNAVAILABLE, not done."""

    slow_consumer_s: float = 30.0
    """A stream that has something to take and takes nothing for this long ends: RESOURCE_EXHAUSTED (R12)."""
    checkpoint_s: float = 120.0
    """At most one checkpoint of an idle stream in this time (R10): within what delivery's window holds at 900 messages a
    second. With 64k streams they are 530 writes a second; at 30 s they cost more than those messages."""
    retry_s: float = 0.5
    """Pause before asking again what could not be answered: the log's end, history, an owner that says it is none."""
    expiry_notice_s: float = 30.0
    """How long before its token runs out a stream is told to refresh it."""

    known_conversations_ids: int = 1_000_000
    """User ids kept for conversations known to be registered. Beyond: the ones unused for longest are looked up again."""
    lookups_under_way: int = 256
    """Look-ups of conversations asked for at a time, and pages of history as many again. Beyond: they wait in turn, each
    stream at most one of a kind."""
    recent_commands: int = 200_000
    """Command ids remembered, to refuse another payload at once (R3). Beyond: the oldest is left to the log's readers."""
    rated_users: int = 100_000
    """Users whose rate is remembered. Beyond: the one least recently seen starts anew."""

    drain_s: float = 20.0
    """Most time over which streams are told to leave when the server drains, and most spread of their reconnect_after."""
    reconnects_per_s: int = 1_000
    """What other servers can take in of a draining one's clients: fewer streams are spread over less time than drain_s."""
    drain_grace_s: float = 5.0
    """Time from a stream's GoAway to its end."""
