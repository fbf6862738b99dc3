"""What clients asked for and were told, line by line on disk, without anything of how the cell works.

A line is a JSON object: `t`, seconds of this machine's monotonic clock, which all processes on it share; `k`, what kind of
line; and what that kind has. A line is written before what it announces is done, and flushed at once, so that a ledger of
a client that was killed says all that it may have done.

| kind | has | |
|---|---|---|
| `opened` | `after` | a stream was opened, or an SDK's client started, behind this cursor; null for nothing before |
| `event` | as `Event` | an event was told |
| `moved` | `cursor` | `resumed` or `checkpoint` |
| `gap` | `until` | events were lost, or the client was told to reload |
| `live`, `lost` | `why` | all that was missed has come; the stream is gone |
| `left`, `returned` | | the client closed, or opened, of its own will |
| `stalled`, `went_on` | | the client takes nothing, and takes again |
| `send` | `id`, `place`, `text`, `reply_to` | a message is about to be sent |
| `react` | `id`, `ref`, `key`, `removed` | a reaction is |
| `read` | `id`, `ref` | a read mark is |
| `outcome` | `id`, `is`, `why`, `tries` | `accepted`, `refused` (certainly not done) or `unknown` |
| `message` | `message`, `reactions` | history has this message; reactions as [key, user] |
| `conversation` | `id`, `read`, `peers` | history has this one; the user's own mark, and those of others by user |
| `read_to_end` | `what` | history was read to its end |
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

MESSAGE, REACTION, RECEIVED, READ = "message", "reaction", "received", "read"
ACCEPTED, REFUSED, UNKNOWN = "accepted", "refused", "unknown"


class Ref(NamedTuple):
    """Names a message for good."""

    conversation: str
    sender: str
    id: str
    sent_at_us: int

    @property
    def order(self) -> tuple[int, bytes, bytes]:
        """Where it stands in its conversation."""
        return self.sent_at_us, self.sender.encode(), self.id.encode()


@dataclass(frozen=True, slots=True)
class Event:
    """What a user was told."""

    cursor: str
    kind: str
    """MESSAGE, REACTION, RECEIVED or READ."""
    ref: Ref
    """The message; of a mark that through which it goes."""
    user: str
    """Who did it."""
    text: str = ""
    """Of a message; of a reaction its key."""
    removed: bool = False
    reply_to: Ref | None = None
    at_us: int = 0
    """When a reaction was taken by the cell."""

    @property
    def is_mark(self) -> bool:
        """Whether it is state that a later one may make superfluous."""
        return self.kind in (RECEIVED, READ)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.kind} {self.ref.sender}/{self.ref.id} by {self.user}"

    def to_json(self) -> dict[str, Any]:
        """Its fields, for a line."""
        made: dict[str, Any] = {"cursor": self.cursor, "kind": self.kind, "ref": self.ref, "user": self.user}
        if self.text:
            made["text"] = self.text
        if self.removed:
            made["removed"] = True
        if self.reply_to:
            made["reply_to"] = self.reply_to
        if self.at_us:
            made["at_us"] = self.at_us
        return made

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(
            data["cursor"],
            data["kind"],
            Ref(*data["ref"]),
            data["user"],
            data.get("text", ""),
            data.get("removed", False),
            ref_of(data.get("reply_to")),
            data.get("at_us", 0),
        )


def ref_of(data: Any) -> Ref | None:
    """A ref of a line; None for null."""
    return None if data is None else Ref(*data)


class Line(NamedTuple):
    """One line of a ledger."""

    file: str
    number: int
    """From 1 on."""
    t: float
    kind: str
    data: Mapping[str, Any]

    @property
    def place(self) -> str:
        """For people."""
        return f"{self.file}:{self.number}"


class LedgerFile:
    """A ledger that is being written. What is there already stays."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def write(self, kind: str, /, **data: Any) -> None:
        """Add a line; it is with the system when this returns."""
        line = {"t": round(time.monotonic(), 4), "k": kind, **data}
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Nothing more will come."""
        self._file.close()


def read_lines(path: Path) -> Iterator[Line]:
    """The whole lines of a ledger; what a killed process has left of its last one is not one."""
    with path.open() as file:
        for number, text in enumerate(file, 1):
            if text.endswith("\n"):
                data = json.loads(text)
                yield Line(path.name, number, data.pop("t"), data.pop("k"), data)
