"""What a chat remembers of what it has shown."""

from messaging_cell.chat_shown import ShownMessages
from messaging_client import Content, Message, MessageRef, Reaction, ReactionChanged


def message(number: int, conversation: str = "C") -> Message:
    return Message(MessageRef(conversation, "ann", f"id{number}", number), Content(text=str(number)))


def change(of: Message, user: str, key: str, *, removed: bool = False) -> ReactionChanged:
    return ReactionChanged("cursor", of.ref, user, key, removed, 0)


def test_each_message_has_one_number() -> None:
    """Also when it is shown again; the last of a conversation is that of the conversation's order."""
    shown = ShownMessages()
    assert [shown.put(message(n)).number for n in (5, 9, 7, 9)] == [1, 2, 3, 2]
    assert shown.put(message(99, "other")).number == 4
    last = shown.last("C")
    assert last is not None
    assert last.message == message(9)
    assert [each.number for each in shown.latest("C")] == [3, 2, 1]
    assert message(5).ref in shown
    assert shown.numbered(8) is None


def test_the_oldest_is_forgotten() -> None:
    """With its number, which is not given again."""
    shown = ShownMessages()
    for n in range(2_001):
        shown.put(message(n))
    assert shown.numbered(1) is None
    assert message(0).ref not in shown
    assert shown.put(message(0)).number == 2_002


def test_reactions_follow_events() -> None:
    """Counted by user: the same twice is one; beyond the names that history tells there are more."""
    shown = ShownMessages().put(message(1))
    shown.set_reactions(
        [Reaction("👍", 30, ("bob",), mine=False), Reaction("🎉", 1, ("ann",), mine=True)], "ann"
    )
    assert shown.counts == {"👍": 30, "🎉": 1}
    shown.change(change(shown.message, "bob", "👍"))
    shown.change(change(shown.message, "cat", "👍"))
    shown.change(change(shown.message, "ann", "🎉", removed=True))
    shown.change(change(shown.message, "ann", "none", removed=True))
    assert shown.counts == {"👍": 31}
    assert shown.keys_of("cat") == ["👍"]
    assert shown.keys_of("ann") == []
