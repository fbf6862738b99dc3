"""Received marks that follow from a stream's acknowledgements: direct conversations only, at most one a second for each.

Both users of a direct conversation are known from its message, so the other user stands for the conversation here.
"""

from typing import NamedTuple

MARK_INTERVAL_S = 1.0
"""At most one received mark of a conversation in this time."""
MAX_PEERS = 256
"""Conversations remembered for a stream. Beyond: the oldest is forgotten, and marked again from its next message."""


class Delivered(NamedTuple):
    """A direct message that the stream was sent."""

    offset: int
    sent_at_us: int
    ref: bytes
    """Its encoded MessageRef."""


class _Peer:
    __slots__ = ("early", "late", "not_before_s", "told_us")

    def __init__(self) -> None:
        self.early: Delivered | None = None
        """Where an acknowledgement will meet a mark although messages keep coming."""
        self.late: Delivered | None = None
        """The newest one in the order of the conversation."""
        self.told_us = 0
        """sent_at of the last mark: marks of a stream do not go back."""
        self.not_before_s = 0.0


class ReceivedMarks:
    """What one stream was sent of direct conversations and has not marked yet."""

    __slots__ = ("_acknowledged", "_peers", "_waiting")

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}
        self._waiting: dict[str, _Peer] = {}
        """Those with a message that has not been marked."""
        self._acknowledged = -1

    def delivered(self, sender_id: str, message: Delivered) -> None:
        """The stream was sent a direct message of another user."""
        peer = self._peers.get(sender_id) or self._add(sender_id)
        if message.sent_at_us <= peer.told_us or (peer.late and message.sent_at_us < peer.late.sent_at_us):
            return
        if peer.early is None:
            peer.early = message
        peer.late = message
        self._waiting[sender_id] = peer

    def acknowledge(self, offset: int) -> None:
        """The client has everything at or before `offset`."""
        self._acknowledged = max(self._acknowledged, offset)

    def take_due(self, now_s: float) -> list[tuple[str, Delivered]]:
        """Marks to append now: (the other user, through which message)."""
        due = []
        for sender_id, peer in list(self._waiting.items()):
            through = self._acknowledged_of(peer)
            if through is not None and peer.not_before_s <= now_s:
                self._tell(sender_id, peer, through, now_s)
                due.append((sender_id, through))
        return due

    def put_back(self, sender_id: str, message: Delivered) -> None:
        """The log did not take this mark: it is due again."""
        peer = self._peers.get(sender_id) or self._add(sender_id)
        if peer.told_us <= message.sent_at_us:
            peer.told_us = 0
            peer.early = message
            peer.late = peer.late or message
            self._waiting[sender_id] = peer

    def next_due_s(self) -> float | None:
        """When `take_due` has something; None if nothing acknowledged waits."""
        if not self._waiting:
            return None
        waiting = [peer.not_before_s for peer in self._waiting.values() if self._acknowledged_of(peer)]
        return min(waiting, default=None)

    def _add(self, sender_id: str) -> _Peer:
        if len(self._peers) >= MAX_PEERS:
            oldest = next(iter(self._peers))
            del self._peers[oldest]
            self._waiting.pop(oldest, None)
        peer = self._peers[sender_id] = _Peer()
        return peer

    def _acknowledged_of(self, peer: _Peer) -> Delivered | None:
        for message in (peer.late, peer.early):
            if message is not None and message.offset <= self._acknowledged:
                return message
        return None

    def _tell(self, sender_id: str, peer: _Peer, through: Delivered, now_s: float) -> None:
        peer.told_us = through.sent_at_us
        peer.not_before_s = now_s + MARK_INTERVAL_S
        if through is peer.late:
            peer.early = peer.late = None
            del self._waiting[sender_id]
        else:
            peer.early = peer.late
