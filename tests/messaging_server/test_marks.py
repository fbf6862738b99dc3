from hypothesis import given
from hypothesis import strategies as st

from messaging_server.marks import MARK_INTERVAL_S, MAX_PEERS, Delivered, ReceivedMarks


def message(offset: int, sent_at_us: int | None = None) -> Delivered:
    return Delivered(offset, 1 + (offset if sent_at_us is None else sent_at_us), b"")


def test_only_what_is_at_or_below_the_cursor_is_told() -> None:
    """An acknowledgement tells the newest message it covers, once."""
    marks = ReceivedMarks()
    marks.delivered("bob", message(5))
    marks.acknowledge(4)
    assert marks.take_due(0.0) == []
    marks.acknowledge(5)
    assert marks.take_due(0.0) == [("bob", message(5))]
    assert marks.take_due(9.0) == []


def test_at_most_one_a_second_for_each_conversation() -> None:
    """Marks within a second become one at its end; other conversations do not wait for it."""
    marks = ReceivedMarks()
    for offset in range(3):
        marks.delivered("bob", message(offset))
        marks.acknowledge(offset)
        assert len(marks.take_due(0.1 * offset)) == (offset == 0)
    assert marks.next_due_s() == MARK_INTERVAL_S
    marks.delivered("carol", message(3))
    marks.acknowledge(3)
    assert marks.take_due(0.5) == [("carol", message(3))]
    assert marks.take_due(1.0) == [("bob", message(2))]
    assert marks.next_due_s() is None


def test_a_client_that_lags_behind_still_gives_marks() -> None:
    """Although newer messages keep coming, what was acknowledged is told."""
    marks = ReceivedMarks()
    told = []
    for offset in range(100):
        marks.delivered("bob", message(offset))
        marks.acknowledge(offset - 10)
        told += marks.take_due(float(offset))
    assert len(told) > 5


def test_the_memory_is_bounded() -> None:
    """The conversation seen first is forgotten."""
    marks = ReceivedMarks()
    for n in range(MAX_PEERS + 10):
        marks.delivered(str(n), message(n))
    marks.acknowledge(10_000)
    assert len(marks.take_due(0.0)) == MAX_PEERS


def test_a_mark_that_was_not_taken_is_told_again() -> None:
    """What the log refused is due again after the interval."""
    marks = ReceivedMarks()
    marks.delivered("bob", message(1))
    marks.acknowledge(1)
    (due,) = marks.take_due(0.0)
    marks.put_back(*due)
    assert marks.take_due(0.5) == []
    assert marks.take_due(1.0) == [due]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 100), st.booleans()), max_size=60))
def test_marks_never_go_back(steps: list[tuple[int, int, bool]]) -> None:
    """Whatever the order of times and acknowledgements, marks of a conversation rise, and cover acknowledged ones only."""
    marks = ReceivedMarks()
    told = [-1]
    acknowledged = -1
    for offset, (sent_at, ack, is_ack) in enumerate(steps):
        if is_ack:
            marks.acknowledge(ack)
            acknowledged = max(acknowledged, ack)
        else:
            marks.delivered("bob", message(offset, sent_at))
        for _, through in marks.take_due(float(2 * offset)):
            assert through.sent_at_us > told[-1] or told == [-1]
            assert through.offset <= acknowledged
            told.append(through.sent_at_us)
