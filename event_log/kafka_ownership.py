"""What a member of a group owns: what the group says, what its consumer was told, and what lies in between.

Nothing here does I/O. Ownership is handed over cooperatively: the group takes a partition from a member, the member's
consumer is told, finishes what it does with it, and lets go by polling again; only when the member joins anew without it,
the group gives it to another. Until then the member claims it. A member that was put out of the group has *lost* what it
had: others may own it already, so its consumer is told, but may not commit any more.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from event_log.port import Assignment


class Told(NamedTuple):
    """What a consumer has to be told."""

    revoked: tuple[int, ...]
    assigned: tuple[Assignment, ...]


class Ownership:
    """Of one member."""

    __slots__ = (
        "_assigned",
        "_generation",
        "_held",
        "_lost",
        "_ready",
        "_revoked",
        "_revoking",
        "_told",
        "needs_join",
    )

    def __init__(self) -> None:
        self.needs_join = True
        """The group has to hear of a change."""
        self._generation = -1
        self._assigned: Collection[int] = ()
        """What the group said last."""
        self._held: dict[int, int] = {}
        """What no other can own, and the generation since which that is so."""
        self._told: set[int] = set()
        """The consumer believes to own these."""
        self._ready: dict[int, Assignment] = {}
        """Not of `_told`: it will be told that it has them."""
        self._revoking: set[int] = set()
        """Of `_told`: it will be told that they are taken."""
        self._revoked: set[int] = set()
        """Of `_told`: it was told that they are taken, and has not let go."""
        self._lost: set[int] = set()
        """It will be told that they are taken; they may be others' already."""

    @property
    def claims(self) -> list[int]:
        """What the group must not give to others."""
        return sorted(self._held)

    @property
    def has_changes(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._ready or self._revoking or self._lost)

    @property
    def is_letting_go(self) -> bool:
        """Whether others wait for the consumer to let go of something."""
        return bool(self._revoking or self._revoked)

    def owns(self, partition: int) -> bool:
        """Whether the consumer may commit the partition."""
        return partition in self._told and partition in self._held

    def assign(self, generation: int, partitions: Collection[int]) -> None:
        """The group says what the member has from this generation on."""
        self._generation = generation
        self._assigned = frozenset(partitions)
        for partition in self._held.keys() - self._assigned:
            if partition not in self._told:  # the consumer has not heard of it, so nothing has to be finished
                del self._held[partition]
                self._ready.pop(partition, None)
                self.needs_join = True
            elif partition not in self._revoked:
                self._revoking.add(partition)
        for partition in self._assigned:
            self._held.setdefault(partition, generation)
            self._revoking.discard(partition)

    def lose(self) -> None:
        """The group has put the member out."""
        self._lost |= self._told - self._revoked
        self._assigned = ()
        self._told = set()
        self._revoking = set()
        self._revoked = set()
        self._held.clear()
        self._ready.clear()
        self.needs_join = True

    def to_look_up(self) -> Mapping[int, int]:
        """Partitions, with their generations, of which it must be found out where to start."""
        return {
            partition: generation
            for partition, generation in self._held.items()
            if partition not in self._told and partition not in self._ready
        }

    def found(self, assignments: Iterable[Assignment]) -> None:
        """Where to start; of no effect where the group has changed its mind in the meantime."""
        wanted = self.to_look_up()
        for assignment in assignments:
            if wanted.get(assignment.partition) == assignment.generation:
                self._ready[assignment.partition] = assignment

    def tell(self) -> Told:
        """What has changed. The consumer owns what is assigned from now on, and what is revoked until it lets go."""
        told = Told(
            tuple(sorted(self._revoking | self._lost)),
            tuple(assignment for _, assignment in sorted(self._ready.items())),
        )
        self._revoked |= self._revoking
        self._told |= self._ready.keys()
        self._revoking, self._lost, self._ready = set(), set(), {}
        return told

    def let_go(self) -> bool:
        """The consumer is done with what it was told is revoked; whether there was anything."""
        if not self._revoked:
            return False
        for partition in self._revoked:
            self._told.discard(partition)
            if partition in self._assigned:  # given back in the meantime: owned anew
                self._held[partition] = self._generation
            else:
                del self._held[partition]
                self.needs_join = True
        self._revoked = set()
        return True
