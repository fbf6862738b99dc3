"""What every client under test can do, whatever it is made of."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from check.faults.ledger import Event, LedgerFile, Ref


class Outcome(NamedTuple):
    """What became of a command."""

    result: str
    """ACCEPTED, REFUSED or UNKNOWN."""
    why: str = ""
    tries: int = 0
    """0 = not known."""


class ClientUnderTest(Protocol):
    """One client of one user, which keeps a ledger. Commands are given one at a time, and not while it is away."""

    ledger: LedgerFile
    on_event: Callable[[Event], None]
    """Called with each event after it was written down."""

    async def open(self) -> None:
        """Begin, or come back, where it was; returns without waiting for the cell."""

    async def leave(self) -> None:
        """Close; it knows where it was."""

    async def live(self) -> None:
        """Wait until it has all that it missed."""

    def stall(self) -> None:
        """Take nothing more for now."""

    def go_on(self) -> None:
        """Take again."""

    async def send(self, id_: str, text: str, to: Sequence[str], reply_to: Ref | None) -> Outcome:
        """Send a message to these users and wait for what becomes of it."""

    async def react(self, id_: str, ref: Ref, key: str, removed: bool) -> Outcome:
        """Add a reaction, or take it back."""

    async def read(self, ref: Ref) -> Outcome:
        """Say that all is read through a message."""
