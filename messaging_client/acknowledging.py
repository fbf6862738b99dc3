"""How far the application has come, told to the cell: one acknowledgement at a time, at most one a second."""

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client.outgoing import NEVER_S

_INTERVAL_S = 1.0
"""The cell tells senders no more often."""


class Acknowledgements:
    """Cumulative, so that a newer one stands for those before it. Lost with the process: marks are a courtesy."""

    __slots__ = ("_from_s", "_under_way", "wanted")

    def __init__(self) -> None:
        self.wanted = ""
        """Cursor to be acknowledged; empty for none."""
        self._under_way = ""
        self._from_s = -NEVER_S

    def take(self, now_s: float) -> messaging.Command | None:
        """What to send now, if there is something; then its outcome is waited for."""
        if now_s < self.due_s():
            return None
        self._under_way, self.wanted = self.wanted, ""
        self._from_s = now_s + _INTERVAL_S
        return messaging.Command(acknowledge=messaging.Acknowledge(cursor=self._under_way))

    def due_s(self) -> float:
        """When `take` has something."""
        return self._from_s if self.wanted and not self._under_way else NEVER_S

    def settled(self, *, again: bool) -> None:
        """The outcome has come. `again`: it was not done, and may be tried again."""
        if again:
            self.wanted = self.wanted or self._under_way
        self._under_way = ""

    def stream_ended(self) -> None:
        """There will be no outcome."""
        self.settled(again=True)
