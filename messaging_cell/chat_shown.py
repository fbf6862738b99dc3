"""What a chat has shown lately: so that messages can be named by number, and nothing is shown twice."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from messaging_client import Message, MessageRef, Reaction, ReactionChanged

_REMEMBERED = 2_000
"""Messages. Beyond: the one that was shown first is forgotten, with its number."""


@dataclass(slots=True)
class Shown:
    """A message that stands on the screen, and its reactions as they are now."""

    number: int
    message: Message
    reactions: dict[str, set[str]] = field(default_factory=dict)
    """Who, as far as it was told."""
    beyond: dict[str, int] = field(default_factory=dict)
    """How many more, of whom history does not tell the names."""

    @property
    def counts(self) -> dict[str, int]:
        """How many of each reaction, in the order in which they came."""
        every = {key: len(users) + self.beyond.get(key, 0) for key, users in self.reactions.items()}
        return {key: count for key, count in every.items() if count > 0}

    def keys_of(self, user: str) -> list[str]:
        """A user's reactions, the latest last."""
        return [key for key, users in self.reactions.items() if user in users]

    def set_reactions(self, told: Iterable[Reaction], reader: str) -> None:
        """Take what history says."""
        self.reactions, self.beyond = {}, {}
        for each in told:
            users = {*each.user_ids, *([reader] if each.mine else ())}
            self.reactions[each.key], self.beyond[each.key] = users, max(0, each.count - len(users))

    def change(self, change: ReactionChanged) -> None:
        """Take what an event says."""
        if change.removed:
            self.reactions.get(change.key, set()).discard(change.user_id)
        else:
            self.reactions.setdefault(change.key, set()).add(change.user_id)


class ShownMessages:
    """The messages shown, each with a number for as long as it is remembered."""

    def __init__(self) -> None:
        self._by_name: OrderedDict[MessageRef, Shown] = OrderedDict()
        self._by_number: dict[int, Shown] = {}
        self._last: dict[str, Shown] = {}
        self._next = 1

    def __contains__(self, ref: MessageRef) -> bool:
        return ref in self._by_name

    def put(self, message: Message) -> Shown:
        """Give it its number; the one it has, if it was shown before."""
        known = self._by_name.get(message.ref)
        if known is not None:
            return known
        shown = self._by_name[message.ref] = self._by_number[self._next] = Shown(self._next, message)
        self._next += 1
        if len(self._by_name) > _REMEMBERED:
            _, oldest = self._by_name.popitem(last=False)
            del self._by_number[oldest.number]
        last = self._last.get(message.conversation_id)
        if last is None or message.ref.sort_key > last.message.ref.sort_key:
            self._last[message.conversation_id] = shown
        return shown

    def named(self, ref: MessageRef) -> Shown | None:
        """The message of this name."""
        return self._by_name.get(ref)

    def numbered(self, number: int) -> Shown | None:
        """The message with this number."""
        return self._by_number.get(number)

    def last(self, conversation_id: str) -> Shown | None:
        """The last message of a conversation, in the conversation's own order."""
        return self._last.get(conversation_id)

    def latest(self, conversation_id: str) -> Iterable[Shown]:
        """Those of a conversation, the one shown last first."""
        every = reversed(self._by_name.values())
        return (each for each in every if each.message.conversation_id == conversation_id)
