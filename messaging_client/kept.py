"""What a client keeps: the port of a store, and the changes that the protocol asks it to make."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from messaging_client.errors import NotDone


@dataclass(slots=True)
class KeptCommand:
    """A command without an outcome yet, or one whose refusal has not been told yet."""

    id: str
    """Its message_id or reaction_id; a name of its own for marks."""
    lane: str
    """Commands of one lane are sent one after the other."""
    command: bytes
    """An encoded cell.messaging.v1.Command without command_id."""
    tried_at_us: int | None = None
    """The cell's time when it was first given to a stream; None = it never was."""
    refusal: NotDone | None = None


@dataclass(slots=True)
class Kept:
    """All that a store holds."""

    user_id: str = ""
    """Whose it is; empty until the cell has told."""
    cursor: str | None = None
    """Every event up to here was taken by the application; None = there was no start yet."""
    commands: list[KeptCommand] = field(default_factory=list)
    """In the order in which they were given."""
    log: str = ""
    """The incarnation of the cell's log in which the commands were tried; empty until the cell has told."""


@dataclass(slots=True)
class Put:
    """A new command."""

    command: KeptCommand


@dataclass(slots=True)
class Tried:
    """A command is about to be given to a stream for the first time."""

    id: str
    at_us: int


@dataclass(slots=True)
class Refused:
    """A command was refused for good, and the application has not been told yet."""

    id: str
    refusal: NotDone


@dataclass(slots=True)
class Drop:
    """A command has its outcome."""

    id: str


@dataclass(slots=True)
class Moved:
    """The application has taken every event up to this cursor."""

    cursor: str


@dataclass(slots=True)
class OfUser:
    """Whose store this is."""

    user_id: str


@dataclass(slots=True)
class OfLog:
    """In which log of the cell commands are tried from now on. What was tried in another one has been looked for."""

    incarnation: str


Change = Put | Tried | Refused | Drop | Moved | OfUser | OfLog


class Store(Protocol):
    """Keeps what must outlive the process, or only pretends to. Calls come one at a time, from any thread."""

    @property
    def is_durable(self) -> bool:
        """Whether what was committed is there after a restart. If so, calls may block, and come in a thread."""
        ...

    def load(self) -> Kept:
        """Open it and read everything. Called once, first. Raises StoreFailed, StoreInUse."""
        ...

    def commit(self, changes: Sequence[Change]) -> None:
        """Make all of these changes, in order, or none of them; durable on return. Raises StoreFailed."""
        ...

    def close(self) -> None:
        """Release it. Called last."""
        ...
