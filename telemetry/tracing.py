"""The tracing port: spans of messages that are sampled.

What comes from outside is asked about once, with `samples`; from there on the context of the message's span goes with its
records and its events inside the cell, and is empty where there is none. So a message that is not sampled costs each part
one look at an empty text. Names and attributes follow OpenTelemetry's conventions for messaging and RPC.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum

LOG = "log"
"""Destination of records."""
MOST_SPANS = 16
"""Of one kind below one span: a room of a thousand has some of its deliveries told, and how many there were."""

Attributes = Mapping[str, str | int | bool]


class SpanKind(Enum):
    """What a span is to the one above it."""

    SERVER = "server"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Span(ABC):
    """Something that takes time, and has begun."""

    __slots__ = ()

    @property
    @abstractmethod
    def traceparent(self) -> str:
        """Its W3C trace context, for spans below it."""

    @abstractmethod
    def tell(self, attributes: Attributes) -> None:
        """Add to what it says."""

    @abstractmethod
    def end(self, error: str = "", attributes: Attributes | None = None) -> None:
        """It is over, for the reason `error` if it failed. Once."""


class Tracer(ABC):
    """Makes spans. Never blocks, and loses spans rather than memory: what is not taken away is bounded."""

    @abstractmethod
    def samples(self, traceparent: str) -> bool:
        """Whether to trace what came from outside with this context, of whatever form; empty for none."""

    @abstractmethod
    def start(self, name: str, kind: SpanKind, parent: str, attributes: Attributes) -> Span:
        """A span that begins now, below `parent`: what was sampled, or a span of the cell. Below no context: a trace."""


def of_record(operation: str, kind: str, partition: int, attributes: Attributes) -> Attributes:
    """The attributes of a span about a record: what is done with it, which sort of operation that is, and its own ones."""
    return {
        "messaging.system": "messaging_cell",
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.destination.name": LOG,
        "messaging.destination.partition.id": str(partition),
        **attributes,
    }
