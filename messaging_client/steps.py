"""What the protocol wants done next, and what it is told of how calls ended."""

from dataclasses import dataclass

from messaging_client.errors import ClientFailed, Reason
from messaging_client.events import Reloaded
from messaging_client.outgoing import Outgoing


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until then, or until something changes."""

    until_s: float


@dataclass(frozen=True, slots=True)
class Load:
    """Load ListConversations, and after that look in history for messages sent before. Answer: `loaded`, `load_failed`."""

    cause: type[Reloaded]
    sought: tuple[Outgoing, ...]


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a stream: `connect` gives its first frame. Answer: `stream_ended`, or `connect_failed` before."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The client cannot go on."""

    error: ClientFailed


Step = Wait | Load | Connect | Failed


@dataclass(frozen=True, slots=True)
class End:
    """How a stream or a call ended."""

    code: str
    """Name of a gRPC status."""
    detail: str = ""
    reason: Reason | None = None
    """From ErrorInfo, if it was there."""
    retry_after_s: float | None = None
