"""Which link speaks for which partition (R7). Pure: links are whatever the caller hands in, told apart by identity."""

from typing import Generic, TypeVar

Link = TypeVar("Link")


class Ownership(Generic[Link]):
    """Claims of the links that are up; nothing outlives a link.

    The owner of a partition is the live link with the highest (generation, then newest link). Each method that may change
    owners returns the partitions whose sessions must attach anew: also where the same link claims again, because what was
    registered with it under its former claim is gone.
    """

    def __init__(self, partition_count: int) -> None:
        self._owners: list[Link | None] = [None] * partition_count
        self._claims: list[dict[Link, int]] = [{} for _ in range(partition_count)]
        self._instances: dict[Link, tuple[str, int]] = {}
        self._opened = 0
        self._never_owned = set(range(partition_count))

    @property
    def complete(self) -> bool:
        """Whether every partition has had an owner."""
        return not self._never_owned

    def owner(self, partition: int) -> Link | None:
        """The link that the partition's events are taken from."""
        return self._owners[partition]

    def opened(self, link: Link, instance_id: str) -> Link | None:
        """A link is up. Returns the link of the same instance that it replaces: end that one."""
        replaced = next((old for old, (name, _) in self._instances.items() if name == instance_id), None)
        self._opened += 1
        self._instances[link] = (instance_id, self._opened)
        return replaced

    def claim(self, link: Link, partition: int, generation: int) -> list[int]:
        """A link says that it owns the partition."""
        if link not in self._instances:
            return []
        self._claims[partition][link] = generation
        return self._settle(partition, claimed=link)

    def release(self, link: Link, partition: int) -> list[int]:
        """A link gives the partition up; one that does not own it unseats nobody."""
        if self._claims[partition].pop(link, None) is None:
            return []
        return self._settle(partition)

    def ended(self, link: Link) -> list[int]:
        """A link is down: it releases everything."""
        if self._instances.pop(link, None) is None:
            return []
        return [
            changed for partition in range(len(self._owners)) for changed in self.release(link, partition)
        ]

    def _settle(self, partition: int, claimed: Link | None = None) -> list[int]:
        claims = self._claims[partition]
        before = self._owners[partition]
        after = max(claims, key=lambda link: (claims[link], self._order(link)), default=None)
        self._owners[partition] = after
        if after is not None:
            self._never_owned.discard(partition)
        return [partition] if after is not before or (after is not None and after is claimed) else []

    def _order(self, link: Link) -> int:
        entry = self._instances.get(link)
        return entry[1] if entry else 0
