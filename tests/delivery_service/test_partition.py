"""One owned partition: what its links are told, in which order, and what is sent on and committed."""

from collections.abc import Sequence

import pytest

from cell.delivery.v1 import session_link_pb2 as link
from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from delivery_service.outbox import Outbox
from delivery_service.partition import OwnedPartition
from delivery_service.settings import DeliverySettings
from delivery_service.window import Missing, Told, Window
from event_log.port import Assignment, Commit, Fate, LogRecord
from messaging_core.cursor import decode_cursor
from messaging_core.events import PositionedEvent
from session_link.routed import to_message
from tests.support.delivery_model import PARTITIONS, Make, Violation, make_partition, partition_of, simulate
from tests.support.log_records import origin_record

ATTACHED = link.ATTACH_OUTCOME_ATTACHED


def own(
    committed: Commit | None = None, *, end: int = 0, window_bytes: int = 1_000_000, generation: int = 1
) -> OwnedPartition:
    settings = DeliverySettings(window_bytes=window_bytes)
    return make_partition(Assignment(0, generation, committed, 0, end), settings)


def records(*values: bytes, start: int = 0) -> list[LogRecord]:
    return [LogRecord(offset, 1, value) for offset, value in enumerate(values, start)]


def message(text: str, *users: str, sender: str = "ann", command_id: str = "", digest: int = 1) -> bytes:
    return origin_record(sender, users, text, command_id=command_id, digest=digest)


def attach(
    user: str, after: int, *, session: int = 1, number: int = 7, credit: int = 1_000_000
) -> link.Attach:
    return link.Attach(
        partition=0,
        user_id=user,
        user_number=number,
        session_number=session,
        attempt=3,
        after_offset=after,
        credit_bytes=credit,
    )


def told(outbox: Outbox) -> list[str]:
    """What a link was told since the last time, in short."""
    lines = []
    for said in map(to_message, outbox.drain()):
        match said.WhichOneof("message"):
            case "routed":
                users = "everyone" if said.routed.everyone else list(said.routed.user_numbers)
                lines.append(f"event {said.routed.event.offset} to {users}")
            case "through":
                lines.append(f"through {said.through.offset}")
            case "attach_reply":
                reply = said.attach_reply
                outcome = link.AttachOutcome.Name(reply.outcome).removeprefix("ATTACH_OUTCOME_")
                lines.append(f"{outcome} {[e.offset for e in reply.events]} through {reply.through_offset}")
            case "conflict_notice":
                lines.append(
                    f"conflict {said.conflict_notice.command_id} to {said.conflict_notice.user_number}"
                )
    return lines


def test_missed_events_come_with_the_reply_and_live_ones_after_it() -> None:
    """An attach is answered where the owner stands: what was missed, then what comes, then how far that was."""
    partition, outbox = own(), Outbox("s")
    partition.take(records(message("0", "bob"), message("1", "cem"), message("2", "bob")))
    partition.attach(outbox, attach("bob", 0))
    partition.take(records(message("3", "bob"), message("4", "cem"), start=3))
    partition.tell_through()
    partition.tell_through()
    assert told(outbox) == ["ATTACHED [2] through 2", "event 3 to [7]", "through 4"]


def test_a_piece_is_the_event_with_its_cursor() -> None:
    """Clients parse what was encoded here, once for all of them."""
    partition, outbox = own(), Outbox("s")
    partition.take(records(message("hi", "bob")))
    partition.attach(outbox, attach("bob", -1))
    (said,) = map(to_message, outbox.drain())
    response = messaging.ConnectResponse.FromString(said.attach_reply.events[0].piece)
    event = response.updates[0].event
    assert event.message.content.text == "hi"
    assert decode_cursor(event.cursor).offset == 0
    assert said.attach_reply.events[0].direct_ref == event.message.ref.SerializeToString()


def test_one_message_a_link_for_all_its_users() -> None:
    """A room is told once to each link, with the numbers of the users there and nobody else's."""
    partition, one, two = own(), Outbox("one"), Outbox("two")
    partition.attach(one, attach("ann", -1, number=1))
    partition.attach(one, attach("bob", -1, number=2))
    partition.attach(two, attach("cem", -1, number=1))
    partition.take(records(message("0", "bob", "cem")))
    assert told(one)[-1] == "event 0 to [1, 2]"
    assert told(two)[-1] == "event 0 to [1]"


def test_credit_cuts_a_reply_short() -> None:
    """A reply holds what the credit takes, at least one event, and says how far it went; live events do not follow."""
    partition, outbox = own(), Outbox("s")
    partition.take(records(*[message(str(n), "bob") for n in range(4)], message("4", "cem")))
    partition.attach(outbox, attach("bob", -1, credit=1))
    partition.take(records(message("5", "bob"), start=5))
    partition.attach(outbox, attach("bob", 2, credit=10_000))
    assert told(outbox) == ["PARTIAL [0] through 0", "ATTACHED [3, 5] through 5"]


def test_no_events_without_attach_nor_after_detach() -> None:
    """A link is told of a user from its attach to its detach, and nothing after the link has ended."""
    partition, one, two = own(), Outbox("one"), Outbox("two")
    partition.attach(one, attach("bob", -1))
    partition.attach(two, attach("bob", -1))
    partition.detach(one, 7)
    partition.unlink(two)
    one.drain()
    two.drain()
    partition.take(records(message("0", "bob")))
    partition.tell_through()
    assert told(one) == told(two) == []


def test_attaches_wait_until_the_tail_is_replayed() -> None:
    """A new owner answers, and is to be claimed, only where it acts from; what is below comes with the reply."""
    former = own()
    former.take(records(*[message(str(n), "bob") for n in range(4)]))
    commit = former.commit()
    assert commit is not None
    partition, outbox = own(commit, end=5), Outbox("s")
    assert (partition.seek_to, partition.active) == (0, False)
    partition.attach(outbox, attach("bob", 1))
    partition.take(records(*[message(str(n), "bob") for n in range(3)]))
    assert told(outbox) == []
    partition.take(records(message("3", "bob"), message("4", "bob"), start=3))
    assert partition.active
    assert told(outbox) == ["ATTACHED [2, 3] through 3", "event 4 to [7]"]


def test_a_session_ahead_of_its_owner_waits_for_it() -> None:
    """A cursor above the owner's position but inside the log is no error: the session is live once the owner is there."""
    partition, outbox = own(end=3), Outbox("s")
    partition.attach(outbox, attach("bob", 2))
    assert partition.past_known_end() == []
    partition.take(
        records(message("0", "bob"), message("1", "bob"), message("2", "bob"), message("3", "bob"))
    )
    assert told(outbox) == ["ATTACHED [] through 2", "event 3 to [7]"]


def test_only_the_end_of_the_log_makes_a_cursor_past_it() -> None:
    """The log is asked where the known end does not tell; only what came before the question is judged by the answer."""
    partition, outbox = own(end=3), Outbox("s")
    partition.attach(outbox, attach("bob", 5, session=1))
    partition.attach(outbox, attach("bob", 8, session=2))
    asked = partition.past_known_end()
    assert [one.attach.session_number for one in asked] == [1, 2]
    partition.attach(outbox, attach("bob", 9, session=3))
    partition.judge(asked, 7)
    assert told(outbox) == ["PAST_END [] through 0"]
    assert [one.attach.session_number for one in partition.past_known_end()] == [3]


def test_a_void_attach_is_not_answered() -> None:
    """A detach, or the end of the link, voids attaches that wait: nobody would want their events."""
    partition, one, two = own(end=3), Outbox("one"), Outbox("two")
    partition.attach(one, attach("bob", 1))
    partition.attach(two, attach("bob", 1))
    partition.detach(one, 7)
    partition.unlink(two)
    partition.take(records(*[message(str(n), "bob") for n in range(3)]))
    assert told(one) == told(two) == []


def test_what_is_unanswered_when_the_partition_goes_is_given_back() -> None:
    """Whoever lets go of a partition can tell every session that asked."""
    partition, outbox = own(end=3), Outbox("s")
    partition.attach(outbox, attach("bob", 1))
    assert [one.attach.user_id for one in partition.give_up()] == ["bob"]
    assert partition.give_up() == []


def test_an_unreadable_record_is_a_gap_for_everyone() -> None:
    """Nothing is skipped silently (R5): all users of the partition are told which place they cannot see."""
    partition, outbox = own(), Outbox("s")
    partition.attach(outbox, attach("bob", -1))
    partition.take(records(message("0", "bob"), b"\xff", message("2", "cem")))
    said = to_message(outbox.drain()[-1]).routed
    assert (said.everyone, said.event.offset) == (True, 1)
    gap = messaging.ConnectResponse.FromString(said.event.piece).updates[0].gap
    assert (decode_cursor(gap.after).offset, decode_cursor(gap.until).offset) == (0, 1)
    partition.attach(outbox, attach("cem", -1, session=2, number=8))
    assert told(outbox) == ["ATTACHED [1, 2] through 2"]


def test_a_conflict_is_told_to_the_sender_and_stands_for_nothing() -> None:
    """The first payload of an id exists; the sender's links hear of the other, and nobody gets it (R3)."""
    partition, outbox = own(), Outbox("s")
    partition.attach(outbox, attach("ann", -1, number=5))
    first, again = message("0", "bob", command_id="x"), message("0", "bob", command_id="x")
    partition.take(records(first, again, message("2", "bob", command_id="x", digest=2)))
    assert told(outbox) == ["ATTACHED [] through -1", "event 0 to [5]", "conflict x to 5"]


def test_the_window_gives_way_to_history_but_never_before_it() -> None:
    """Out of memory and in history: BEHIND. Out of memory and not yet in history: read again from the log (R8)."""
    values = [message(str(n), "bob") if n % 2 else message(str(n), "cem", sender="cem") for n in range(8)]
    values[4] = b"\xff"
    values[5] = values[3] = message("same", "bob", command_id="x")
    partition, outbox = own(window_bytes=0), Outbox("s")
    partition.take(records(*values))
    partition.history_has(2)
    partition.attach(outbox, attach("bob", 0, session=1))
    assert told(outbox) == ["BEHIND [] through 0"]
    partition.attach(outbox, attach("bob", 1, session=2))
    assert told(outbox) == []
    assert partition.reread_from() == 0, "a little before, where the newest event time is known"
    partition.reread(0, records(*values[:7]))
    assert told(outbox) == ["PARTIAL [3, 4] through 6"]
    partition.attach(outbox, attach("bob", 6))
    partition.reread(partition.reread_from(), records(*values))
    partition.attach(outbox, attach("bob", 7))
    assert told(outbox) == ["PARTIAL [7] through 7", "ATTACHED [] through 7"]


def test_an_idle_partition_commits_and_sends_nothing() -> None:
    """I13: without records there is nothing to forward, and a commit only where something moved."""
    partition = own()
    assert partition.commit() is not None
    assert partition.commit() is None
    partition.commit_failed()
    assert partition.commit() is not None
    assert partition.forwarder.take(0.0) == []


def test_records_a_message_are_one_and_one_for_each_other_partition() -> None:
    """I13: however many users, each other partition gets one copy; users here are served from the origin."""
    partition = own()
    partition.take(records(message("0", "bob", "cem", "xia", "yan"), message("1", "bob"), b"\xff"))
    copies = partition.forwarder.take(0.0)
    assert [copy.partition for copy in copies] == [1, 2]
    assert [list(log.Record.FromString(copy.value).copy.recipient_ids) for copy in copies] == [
        ["xia"],
        ["yan"],
    ]
    commit = partition.commit()
    assert commit is not None
    assert commit.offset == 0
    for copy in copies:
        partition.forwarder.settled(copy.tag, Fate.APPENDED, 0.0)
    assert (partition.commit() or commit).offset == 3


def test_a_new_owner_forwards_only_from_the_commit_on() -> None:
    """What is below the commit is durable in its targets already (I3); replaying it sends nothing."""
    former = own()
    values = [message(str(n), "xia") for n in range(3)]
    former.take(records(*values))
    copies = former.forwarder.take(0.0)
    former.forwarder.settled(copies[0].tag, Fate.APPENDED, 0.0)
    commit = former.commit()
    assert commit is not None
    assert commit.offset == 1
    partition = own(commit, end=3)
    partition.take(records(*values))
    sent = [log.Record.FromString(copy.value).copy.source_offset for copy in partition.forwarder.take(0.0)]
    assert sent == [1, 2]


# --- I6, I7, I8, I10 over random histories ---


class ThroughFirst(OwnedPartition):
    """Broken: says how far it has come before the events are told."""

    def take(self, records: Sequence[LogRecord]) -> int:
        if records and self.active:
            for outbox in self._interest.links:
                outbox.through(0, records[-1].offset, 0)
        return super().take(records)


class AnswersWhileReplaying(OwnedPartition):
    """Broken: answers attaches before it has come to where it acts from."""

    def attach(self, outbox: Outbox, attach: link.Attach) -> None:
        acts_from, self._acts_from = self._acts_from, 0
        super().attach(outbox, attach)
        self._acts_from = acts_from

    @property
    def active(self) -> bool:
        return True

    def commit(self) -> Commit | None:
        return super().commit() if super().active else None


class ForgetfulWindow(Window):
    """Broken: answers attaches older than itself as if it had everything."""

    __slots__ = ()

    def since(self, user: str, after: int) -> Sequence[PositionedEvent] | Missing:
        return super().since(user, max(after, self.start - 1))


class CarelessWindow(Window):
    """Broken: does not remember which records stood for nothing."""

    __slots__ = ()

    def told(self, offset: int) -> Told:
        return Told.EFFECTIVE if super().told(offset) is Told.INEFFECTIVE else super().told(offset)


def with_window(kind: type[Window]) -> Make:
    def make(assignment: Assignment, settings: DeliverySettings) -> OwnedPartition:
        partition = make_partition(assignment, settings)
        partition._window = kind(partition._window.start, settings.window_bytes)
        return partition

    return make


def of_kind(kind: type[OwnedPartition]) -> Make:
    def make(assignment: Assignment, settings: DeliverySettings) -> OwnedPartition:
        return kind(
            assignment,
            incarnation="log",
            partition_count=PARTITIONS,
            partition_of=partition_of,
            settings=settings,
        )

    return make


@pytest.mark.parametrize("seeds", [range(i, i + 50) for i in range(0, 300, 50)], ids=str)
def test_sessions_get_exactly_their_events_whatever_happens(seeds: range) -> None:
    """Records, attaches, evictions, links ending, takeovers and zombies in any order: every event once, in order."""
    for seed in seeds:
        simulate(seed)


@pytest.mark.parametrize(
    "broken",
    [
        of_kind(ThroughFirst),
        of_kind(AnswersWhileReplaying),
        with_window(ForgetfulWindow),
        with_window(CarelessWindow),
    ],
    ids=[
        "through first",
        "answers while replaying",
        "window answers what it lost",
        "rereads what was dropped",
    ],
)
def test_the_same_search_finds_what_is_broken(broken: Make) -> None:
    """Dropping any part of the rules loses, doubles or hides an event, and the simulation sees it."""
    with pytest.raises(Violation):
        for seed in range(500):
            simulate(seed, broken)
