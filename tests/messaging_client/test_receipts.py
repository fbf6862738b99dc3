"""What tells senders that their messages were received."""

from messaging_client.events import NewMessage, ReactionChanged
from messaging_client.receipts import Receipt, Receipts, is_direct
from messaging_client.values import Content, Message, MessageRef
from messaging_core.ids import conversation_id


def message(n: int, sender_id: str = "bob", *others: str) -> NewMessage:
    ref = MessageRef(conversation_id(["ann", sender_id, *others]), sender_id, f"m{n}", n)
    return NewMessage(f"c{n}", Message(ref, Content()), sender_id == "ann")


class Reader:
    """An application that takes what one stream after the other brings."""

    def __init__(self) -> None:
        self.receipts = Receipts()
        self.stream = 1
        self.now_s = 0.0
        self.receipts.opened(1)

    def hand(self, *events: NewMessage | ReactionChanged, stream: int = 0) -> None:
        for event in events:
            self.receipts.handed(event, stream or self.stream, "ann")

    def take(self, *events: NewMessage, stream: int = 0) -> None:
        for event in events:
            self.hand(event, stream=stream)
            self.receipts.received(event.cursor)

    def next_stream(self) -> None:
        self.receipts.stream_ended()
        self.stream += 1
        self.receipts.opened(self.stream)

    def told(self, room: int = 100) -> list[Receipt]:
        """The next batch, once it is time for it."""
        self.now_s += 1.0
        return self.receipts.take(self.now_s, room)


def said(receipts: list[Receipt]) -> list[str]:
    """Cursors, and names of messages that are marked."""
    return [
        receipt.command.acknowledge.cursor or receipt.command.mark_received.through.message_id
        for receipt in receipts
    ]


def test_a_conversation_of_two_is_known_by_its_id() -> None:
    """As the cell makes it, whatever the order; a note to self and a group are not."""
    assert is_direct(conversation_id(["ann", "bob"]), "bob", "ann")
    assert not is_direct(conversation_id(["ann", "bob", "eve"]), "bob", "ann")
    assert not is_direct(conversation_id(["ann"]), "ann", "ann")


def test_one_acknowledgement_stands_for_all_before_it() -> None:
    """At most one a second, for the latest, and none while one has no outcome."""
    reader = Reader()
    reader.take(message(1), message(2), message(3, "eve"))
    (receipt,) = reader.told()
    assert said([receipt]) == ["c3"]
    assert [ref.message_id for ref in receipt.through] == ["m2", "m3"]
    reader.take(message(4))
    assert reader.told() == []
    reader.receipts.told()
    assert reader.receipts.take(reader.now_s - 1.5, 100) == []
    assert said(reader.told()) == ["c4"]


def test_what_tells_nobody_anything_is_not_told() -> None:
    """Groups, own messages, notes to self and other events make no acknowledgement."""
    reader = Reader()
    reader.take(message(1, "bob", "eve"), message(2, "ann"), message(3, "ann", "bob"))
    assert reader.told() == []
    assert reader.receipts.due_s() == float("inf")


def test_after_a_break_each_conversation_is_marked_once() -> None:
    """Whether taken before or after the break, and also where the acknowledgement had no outcome; newer ones win."""
    reader = Reader()
    reader.take(message(1), message(2, "eve"))
    (lost,) = reader.told()
    reader.take(message(3))
    reader.receipts.untold(lost)
    reader.next_stream()
    reader.take(message(4), stream=1)
    assert sorted(said(reader.told())) == ["m2", "m4"]


def test_what_an_acknowledgement_says_is_not_marked_too() -> None:
    """A newer message of the conversation on the present stream stands for those before it."""
    reader = Reader()
    reader.take(message(1), message(2, "eve"))
    reader.next_stream()
    reader.take(message(3))
    assert said(reader.told()) == ["c3", "m2"]


def test_a_refusal_for_now_is_told_again_and_one_for_good_is_not() -> None:
    """Not before the cell's hint."""
    reader = Reader()
    reader.take(message(1))
    (first,) = reader.told()
    reader.receipts.untold(first, until_s=10.0)
    assert reader.told() == []
    assert reader.receipts.due_s() == 10.0
    reader.now_s = 10.0
    assert said(reader.told()) == ["m1"]
    reader.receipts.told()
    assert reader.receipts.due_s() == float("inf")


def test_marks_leave_room_for_the_applications_commands() -> None:
    """A few each second, and no more than there is room; all of them in the end."""
    reader = Reader()
    reader.take(*(message(n, f"user{n}") for n in range(20)))
    reader.next_stream()
    batches = []
    for room in (100, 3, 100, 100):
        batch = reader.told(room)
        for _ in batch:
            reader.receipts.told()
        batches.append(len(batch))
    assert batches == [8, 3, 8, 1]


def test_an_application_may_say_itself_what_it_has_received() -> None:
    """Handed over is not received; what it says stands for all that was handed over before."""
    reader = Reader()
    changed = ReactionChanged("c2", MessageRef("C", "eve", "m", 1), "eve", "+", False, 1)
    reader.hand(message(1), changed, message(3))
    assert reader.told() == []
    reader.receipts.received("c2")
    (receipt,) = reader.told()
    assert said([receipt]) == ["c2"]
    assert [ref.message_id for ref in receipt.through] == ["m1"]
    reader.receipts.told()
    reader.receipts.received("a cursor that was never given")
    assert reader.told() == []


def test_memory_is_bounded() -> None:
    """Beyond its bound the oldest is not told."""
    reader = Reader()
    reader.hand(*(message(n, f"user{n}") for n in range(2_000)))
    assert len(reader.receipts._handed) == 1_024
    reader.receipts.received("c1999")
    reader.next_stream()
    assert len(reader.receipts._earlier) == 1_024
