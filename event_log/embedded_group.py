"""Who owns which partition of the embedded log: sticky, balanced, and handed over only after the old owner let go."""

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

Member = TypeVar("Member")


class Changes(NamedTuple):
    """What a member has to be told."""

    revoked: tuple[int, ...]
    assigned: tuple[int, ...]
    generation: int
    """Of the assigned ones."""


class _Share:
    """What one member has."""

    __slots__ = ("assigning", "owned", "revoked", "revoking")

    def __init__(self) -> None:
        self.owned: set[int] = set()
        """It was told that it owns these."""
        self.revoking: set[int] = set()
        """Of `owned`: it will be told that they are taken."""
        self.revoked: set[int] = set()
        """Of `owned`: it was told that they are taken, and has not let go."""
        self.assigning: set[int] = set()
        """Not of `owned`: it will be told that it has them."""


class Group(Generic[Member]):
    """A consumer group. Each partition has at most one owner at any time; members learn of changes when they ask."""

    def __init__(self, partition_count: int, first_generation: int) -> None:
        self._partitions = range(partition_count)
        self._generation = first_generation
        self._shares: dict[Member, _Share] = {}

    @property
    def members(self) -> Iterable[Member]:
        """In the order in which they joined."""
        return self._shares.keys()

    def join(self, member: Member) -> None:
        """Take part from now on."""
        self._shares[member] = _Share()
        self._balance()

    def leave(self, member: Member) -> None:
        """Let go of everything at once."""
        del self._shares[member]
        self._balance()

    def has_changes(self, member: Member) -> bool:
        """Whether there is something to tell."""
        share = self._shares[member]
        return bool(share.revoking or share.assigning)

    def tell(self, member: Member) -> Changes:
        """What has changed for the member. It owns what is assigned from now on, and what is revoked until it lets go."""
        share = self._shares[member]
        changes = Changes(tuple(sorted(share.revoking)), tuple(sorted(share.assigning)), self._generation)
        if share.assigning:
            self._generation += 1
        share.owned |= share.assigning
        share.revoked |= share.revoking
        share.assigning, share.revoking = set(), set()
        return changes

    def let_go(self, member: Member) -> bool:
        """The member is done with what it was told is revoked; whether there was anything."""
        share = self._shares[member]
        if not share.revoked:
            return False
        share.owned -= share.revoked
        share.revoked = set()
        self._balance()
        return True

    def owns(self, member: Member, partition: int) -> bool:
        """Whether the member may commit the partition."""
        share = self._shares.get(member)
        return share is not None and partition in share.owned

    def _balance(self) -> None:
        """Aim at shares that differ by one at most, moving as few partitions as that takes."""
        if not self._shares:
            return
        quota, larger = divmod(len(self._partitions), len(self._shares))
        by_size = sorted(self._shares.values(), key=lambda share: -len(share.owned - share.revoked))
        quotas = [quota + (at < larger) for at in range(len(by_size))]
        for share, most in zip(by_size, quotas, strict=True):
            staying = sorted(share.owned - share.revoked)
            share.revoking = set(staying[most:])
            share.assigning = set()
        owned = {partition for share in by_size for partition in share.owned}
        free = [partition for partition in self._partitions if partition not in owned]
        for share, most in zip(by_size, quotas, strict=True):
            room = most - len(share.owned - share.revoked - share.revoking)
            share.assigning = set(free[:room])
            del free[:room]
