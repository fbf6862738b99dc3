from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as m
from event_log.port import Fate
from messaging_core.ids import conversation_id
from messaging_core.refusals import Refused
from messaging_server.marks import Delivered
from messaging_server.receipts import Receipts
from tests.messaging_server.test_pipeline import Desk


class Acks:
    def __init__(self) -> None:
        self.desk = Desk()
        self.outcomes: list[tuple[int, str]] = []
        self.receipts = Receipts(self.desk.desk, "bob", self)

    def ack_done(self, command_id: int) -> None:
        self.outcomes.append((command_id, "done"))

    def ack_refused(self, command_id: int, refused: Refused) -> None:
        self.outcomes.append((command_id, m.RejectedOutcome.Name(refused.outcome)))

    def deliver(self, offset: int, sender: str = "alice") -> None:
        ref = m.MessageRef(
            conversation_id=conversation_id([sender, "bob"]), sender_id=sender, message_id=f"m{offset}"
        )
        self.receipts.delivered(sender, Delivered(offset, offset, ref.SerializeToString()))


def test_an_acknowledgement_is_done_when_its_mark_is_durable() -> None:
    """The mark goes to both users, without a command id; the outcome follows the log."""
    acks = Acks()
    acks.deliver(5)
    acks.receipts.acknowledge(7, 5)
    (event,) = acks.desk.log.events
    assert (event.kind, event.sender_id) == (log.EVENT_KIND_RECEIVED_MARK, "bob")
    origin = log.Record.FromString(acks.desk.log.appended[0][0].value).origin
    assert (origin.command_id, list(origin.participant_ids)) == ("", ["alice", "bob"])
    mark = m.Event.FromString(event.event).received_mark
    assert (mark.user_id, mark.through.message_id) == ("bob", "m5")
    assert acks.outcomes == []
    acks.desk.log.settle()
    assert acks.outcomes == [(7, "done")]


def test_an_acknowledgement_with_nothing_to_tell_is_done_at_once() -> None:
    """Below what was delivered there is nothing to tell."""
    acks = Acks()
    acks.deliver(5)
    acks.receipts.acknowledge(7, 4)
    assert acks.outcomes == [(7, "done")]


def test_a_later_acknowledgement_supersedes_the_one_that_waits() -> None:
    """At most one waits: it holds for all before it, which are done."""
    acks = Acks()
    for offset in range(1, 4):
        acks.deliver(offset)
        acks.receipts.acknowledge(offset, offset)
    assert acks.outcomes == [(1, "done"), (2, "done")]
    acks.desk.log.settle()
    assert acks.receipts.waiting
    acks.desk.now_s += 1.1
    acks.receipts.tell()
    acks.desk.log.settle()
    assert acks.outcomes[-1] == (3, "done")
    assert acks.receipts.next_due_s() is None


def test_a_mark_that_was_not_taken_is_refused_and_told_again() -> None:
    """The outcome is the log's; the next acknowledgement tells the mark again."""
    for fate, outcome in (
        (Fate.NOT_APPENDED, "REJECTED_OUTCOME_NOT_DONE"),
        (Fate.UNKNOWN, "REJECTED_OUTCOME_UNKNOWN"),
    ):
        acks = Acks()
        acks.deliver(5)
        acks.receipts.acknowledge(7, 5)
        acks.desk.log.settle(fate)
        assert acks.outcomes == [(7, outcome)]
        acks.desk.now_s += 1.1
        acks.receipts.acknowledge(8, 5)
        acks.desk.log.settle()
        assert acks.outcomes[-1] == (8, "done")


def test_an_acknowledgement_waits_for_all_of_its_marks() -> None:
    """A mark that another stream has made durable needs no record; the acknowledgement waits for the others all the same."""
    acks = Acks()
    acks.deliver(5)
    acks.receipts.acknowledge(7, 5)
    acks.desk.log.settle()
    again = Acks()
    again.desk.desk.marks = acks.desk.desk.marks
    again.deliver(5)
    again.deliver(6, "carol")
    again.receipts.acknowledge(8, 6)
    assert len(again.desk.log.appended) == 1
    assert again.outcomes == []
    again.desk.log.settle()
    assert again.outcomes == [(8, "done")]
