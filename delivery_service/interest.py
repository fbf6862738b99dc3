"""Which links want the events of which users: presence, in memory and nowhere else."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

Link = TypeVar("Link")

_NUMBERS = 2**32
"""After so many they start anew."""


class Interest(Generic[Link]):
    """The users of one partition that have sessions, by link; each link has its own numbers for them."""

    __slots__ = ("_links_of", "_users_of")

    def __init__(self) -> None:
        # Nearly every user has streams on one server only, so a tuple of one pair is the whole cost of a user.
        self._links_of: dict[str, tuple[tuple[Link, int], ...]] = {}
        self._users_of: dict[Link, dict[int, str]] = {}

    @property
    def links(self) -> Collection[Link]:
        """The links that want anything."""
        return self._users_of.keys()

    def add(self, link: Link, number: int, user: str) -> None:
        """From now on the link wants the user's events, and knows the user by this number alone.

        Numbers rise: one that was given before the one the user is known by is void. Its attach waited here while the user
        went and came again, and the detach may have gone to another owner; taken, it would hide the user's sessions.
        """
        users = self._users_of.setdefault(link, {})
        known = next((n for other, n in self._links_of.get(user, ()) if other is link), number)
        if (known - number) % _NUMBERS < _NUMBERS // 2 and users.get(known) == user:
            return
        if number in users:
            self._forget(link, number, users[number])
        others = tuple(pair for pair in self._links_of.get(user, ()) if pair[0] is not link)
        for pair in self._links_of.get(user, ()):
            if pair[0] is link:
                del users[pair[1]]
        users[number] = user
        self._links_of[user] = (*others, (link, number))

    def remove(self, link: Link, number: int) -> None:
        """The link no longer wants the events of the user with this number; it may never have."""
        users = self._users_of.get(link, {})
        if (user := users.pop(number, None)) is not None:
            self._forget(link, number, user)
            if not users:
                del self._users_of[link]

    def drop(self, link: Link) -> None:
        """The link has ended."""
        for number, user in self._users_of.pop(link, {}).items():
            self._forget(link, number, user)

    def numbers(self, users: Iterable[str]) -> Mapping[Link, Sequence[int]]:
        """For each link that wants events of any of these users, its numbers for them."""
        found: dict[Link, list[int]] = {}
        links_of = self._links_of.get
        for user in users:
            if (links := links_of(user)) is not None:
                for link, number in links:
                    if link in found:
                        found[link].append(number)
                    else:
                        found[link] = [number]
        return found

    def _forget(self, link: Link, number: int, user: str) -> None:
        rest = tuple(pair for pair in self._links_of[user] if pair != (link, number))
        if rest:
            self._links_of[user] = rest
        else:
            del self._links_of[user]
