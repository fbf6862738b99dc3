"""The W3C trace context of a message, as in https://www.w3.org/TR/trace-context-2, traceparent header."""

import re
from collections.abc import Iterable
from typing import NamedTuple

MAX_BYTES = 64
"""Of a traceparent; those of version 00 have 55."""
_SAMPLED = 0x01
_FORM = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<parent>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<later>-.*)?",
    re.DOTALL,
)


class TraceContext(NamedTuple):
    """A span of whoever sent it."""

    trace_id: int
    span_id: int
    sampled: bool
    """Whether its trace is kept."""

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"


def traceparent_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """What the metadata of a call says of its trace, if it is a trace context; else empty."""
    for key, value in metadata or ():
        if key == "traceparent" and isinstance(value, str):
            return value if len(value) <= MAX_BYTES and parse(value) is not None else ""
    return ""


def parse(traceparent: str) -> TraceContext | None:
    """What a traceparent says; None for what is none. Later versions may say more behind what is known, version 00 not."""
    found = _FORM.fullmatch(traceparent)
    if found is None or (found["later"] is not None and found["version"] == "00"):
        return None
    flags = int(found["flags"], 16)
    return TraceContext(int(found["trace"], 16), int(found["parent"], 16), bool(flags & _SAMPLED))
