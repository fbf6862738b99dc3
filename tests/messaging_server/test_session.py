"""One stream's state machine, step by step; its random interleavings are in test_session_invariants.py."""

from typing import Any

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cell.delivery.v1 import session_link_pb2 as link
from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as m
from messaging_core.cursor import Cursor, decode_cursor, encode_cursor
from messaging_core.events import EventsPage, PositionedEvent, event_piece
from messaging_core.identity import Identity
from messaging_core.ids import conversation_id
from messaging_server.session import Session
from messaging_server.subscription import LIVE, State
from session_link.routed import from_message
from tests.messaging_server.simulation import INCARNATION, SETTINGS, SimLink, World


def event(offset: int, *, size: int = 10, sender: str = "", direct: bytes = b"") -> PositionedEvent:
    body = m.Event(message=m.Message(content=m.Content(text="x" * size))).SerializeToString()
    cursor = encode_cursor(INCARNATION, 0, offset, offset + 1)
    return PositionedEvent(offset, event_piece(cursor, body), offset + 1, direct, sender)


class Bench:
    """A session with its router and one link, and the hands of the shell."""

    def __init__(self, expires_at_s: float | None = None) -> None:
        self.world = World(0)
        self.router = self.world.router
        self.source = SimLink(self.world.services[0])
        self.router.opened(
            self.source, link.LinkHello(instance_id="A", log_incarnation="log-1", partition_count=1)
        )
        self.session = Session(
            self.world.shared, self.router.user("ann", 0), 1, Identity("ann", expires_at_s)
        )
        self.session.user.sessions.append(self.session)

    def claim(self, generation: int = 1) -> None:
        self.take(claim=link.Claim(partition=0, generation=generation))

    def take(self, **message: Any) -> None:
        self.router.take(self.source, from_message(link.OwnerMessage(**message)), self.world.now_s)
        self.turn()

    def turn(self) -> None:
        for the_link, messages in self.router.messages().items():
            the_link.send(messages)

    def frame(self, *commands: m.Command) -> None:
        self.session.frame(m.ConnectRequest(commands=commands).SerializeToString())
        self.turn()

    def hello(self, end: int = 0, **start: Any) -> None:
        self.frame(m.Command(command_id=1, hello=m.Hello(**start)))
        self.session.log_end(end, self.world.now_s)
        self.turn()

    def attach(self) -> link.Attach:
        """The attach that was sent last."""
        return [message for message in self.source.up if message.HasField("attach")][-1].attach

    def detaches(self) -> int:
        return sum(message.HasField("detach") for message in self.source.up)

    def reply(self, outcome: Any = link.ATTACH_OUTCOME_ATTACHED, through: int = -1, **changes: Any) -> None:
        attach = self.attach()
        fields: dict[str, Any] = {
            "session_number": attach.session_number,
            "attempt": attach.attempt,
        } | changes
        self.take(
            attach_reply=link.AttachReply(partition=0, outcome=outcome, through_offset=through, **fields)
        )

    def routed(self, found: PositionedEvent, *, everyone: bool = False) -> None:
        routed = link.RoutedEvent(
            offset=found.offset,
            piece=found.piece,
            event_time_us=found.time_us,
            direct_ref=found.direct_ref,
            sender_id=found.sender_id,
        )
        number = self.session.user.number
        self.take(routed=link.Routed(partition=0, event=routed, user_numbers=[number], everyone=everyone))

    def through(self, offset: int) -> None:
        self.take(through=link.Through(partition=0, offset=offset, time_us=offset + 1))

    def updates(self) -> list[m.Update]:
        out: list[m.Update] = []
        while frame := self.session.take_frame():
            out += m.ConnectResponse.FromString(frame).updates
            self.session.written()
            self.turn()
        return out

    def state(self) -> State:
        return self.session.state

    def status(self) -> StatusCode | None:
        return self.session.ending.status if self.session.ending else None

    def kinds(self) -> list[str | None]:
        return [update.WhichOneof("update") for update in self.updates()]

    def later(self, seconds: float) -> None:
        self.world.now_s += seconds
        if self.session.wake_s <= self.world.now_s:
            self.session.on_time()
        self.turn()


def live(**start: Any) -> Bench:
    bench = Bench()
    bench.claim()
    bench.hello(**start)
    bench.reply()
    assert bench.kinds() == ["welcome", "resumed"]
    return bench


def test_resumed_waits_for_what_was_durable_when_the_stream_opened() -> None:
    """An owner that lags behind the log's end must have come there before `resumed` is told (R3, R11)."""
    bench = Bench()
    bench.claim()
    bench.hello(end=3, resume_after="")
    bench.reply(through=0)
    assert bench.kinds() == ["welcome"]
    bench.routed(event(1))
    assert bench.kinds() == ["event"]
    bench.through(2)
    (update,) = bench.updates()
    assert decode_cursor(update.resumed.cursor).offset == 2
    assert update.resumed.outcome == m.RESUME_OUTCOME_RESUMED


def test_live_only_starts_at_the_end_of_the_log() -> None:
    """Nothing that was there before the stream opened is shown."""
    bench = Bench()
    bench.claim()
    bench.hello(end=7, live_only=True)
    assert bench.attach().after_offset == 6
    bench.reply(through=6)
    update = bench.updates()[-1]
    assert (decode_cursor(update.resumed.cursor).offset, update.resumed.outcome) == (6, m.RESUME_OUTCOME_LIVE)


def test_a_through_from_before_going_live_raises_nothing() -> None:
    """Only a Through that follows the reply of a session's latest attach counts for it (I8)."""
    bench = Bench()
    bench.claim()
    bench.through(9)
    bench.hello(end=5, resume_after="")
    bench.reply(through=1)
    assert bench.session.effective_position == 1
    bench.through(9)
    assert bench.session.effective_position == 9


@pytest.mark.parametrize("outcome", [link.ATTACH_OUTCOME_NOT_OWNER, link.ATTACH_OUTCOME_UNSPECIFIED])
def test_an_owner_that_is_none_is_asked_again_later(outcome: Any) -> None:
    """NOT_OWNER of the current link waits for a change of owners, or a moment, before the next attach."""
    bench = Bench()
    bench.claim()
    bench.hello()
    bench.reply(outcome)
    assert bench.state() is State.WAITING
    sent = len(bench.source.up)
    bench.later(0.1)
    assert len([m for m in list(bench.source.up)[sent:] if m.HasField("attach")]) == 0
    bench.later(SETTINGS.retry_s)
    assert bench.attach().attempt == 2


def test_past_end_is_checked_with_the_log_itself() -> None:
    """An owner's PAST_END ends the stream only if the log agrees."""
    for end, status in ((5, None), (2, StatusCode.OUT_OF_RANGE)):
        bench = Bench()
        bench.claim()
        bench.hello(end=5, resume_after=Cursor(INCARNATION, 0, 4, 1).encode())
        bench.reply(link.ATTACH_OUTCOME_PAST_END)
        bench.later(SETTINGS.retry_s + 0.1)
        bench.session.log_end(end, bench.world.now_s)
        assert bench.status() == status


def test_partial_replies_go_on_after_draining() -> None:
    """A session whose credit is used up takes nothing live, and attaches again from there once it is written."""
    bench = Bench()
    bench.claim()
    bench.hello(end=2, resume_after="")
    first, second = event(0), event(1)
    events = [link.RoutedEvent(offset=first.offset, piece=first.piece, event_time_us=1)]
    bench.reply(link.ATTACH_OUTCOME_PARTIAL, through=0, events=events)
    bench.routed(second)
    assert bench.state() is State.DRAINING
    assert bench.kinds() == ["welcome", "event"]
    assert (bench.attach().attempt, bench.attach().after_offset) == (2, 0)


def test_behind_pages_history_until_it_has_all_and_attaches_again() -> None:
    """Pages follow each other as they are written; the last one leads back to the owner (R8, R9)."""
    bench = Bench()
    bench.claim()
    bench.hello(end=4, resume_after="")
    bench.reply(link.ATTACH_OUTCOME_BEHIND)
    bench.session.page_read(None, bench.world.now_s)
    bench.session.page_read(EventsPage([event(0)], 0, 1, 3), bench.world.now_s)
    assert bench.state() is State.DRAINING
    assert bench.kinds() == ["welcome", "event"]
    assert bench.state() is State.PAGING
    bench.session.page_read(EventsPage([event(2)], 3, 3, 3), bench.world.now_s)
    assert bench.kinds() == ["event"]
    assert bench.attach().after_offset == 3
    bench.reply(through=3)
    assert bench.kinds() == ["resumed"]


def test_overflow_detaches_drains_and_attaches_from_the_last_event_sent() -> None:
    """A full session loses nothing: its user is detached, and it comes back where it was (R12)."""
    bench = live()
    offset = 0
    while bench.state() is LIVE:
        bench.routed(event(offset, size=50))
        offset += 1
    assert bench.detaches() == 1
    assert bench.kinds() == ["event"] * (offset - 1)
    assert bench.attach().after_offset == offset - 2


def test_one_event_larger_than_the_buffer_still_passes() -> None:
    """An empty session takes whatever comes: else it could never go on."""
    bench = live()
    bench.routed(event(0, size=10 * SETTINGS.event_buffer_bytes))
    assert bench.kinds() == ["event"]


def test_a_user_is_detached_only_when_no_session_takes_events() -> None:
    """Another session that is live or attaching keeps the user with its owner."""
    bench = live()
    other = Session(bench.world.shared, bench.session.user, 2, Identity("ann", None))
    bench.session.user.sessions.append(other)
    bench.session.close()
    bench.router.remove(bench.session)
    other.open(m.Hello())
    other.log_end(0, 0.0)
    bench.turn()
    assert bench.detaches() == 0
    other.close()
    bench.router.remove(other)
    bench.turn()
    assert bench.detaches() == 1


def test_a_gap_for_everyone_reaches_every_live_session() -> None:
    """The event that stands for a record nobody can read needs no list of users (R5)."""
    bench = live()
    found = event(0)
    routed = link.RoutedEvent(offset=0, piece=found.piece, event_time_us=1)
    bench.take(routed=link.Routed(partition=0, event=routed, everyone=True))
    assert bench.kinds() == ["event"]


def test_a_conflict_found_later_is_told_without_a_command() -> None:
    """The sender's streams hear of an id that was used again for another payload (R3)."""
    bench = live()
    number = bench.session.user.number
    bench.take(conflict_notice=link.ConflictNotice(partition=0, user_number=number, command_id="m1"))
    (update,) = bench.updates()
    assert (update.rejected.command_id, update.rejected.message_id) == (0, "m1")
    assert update.rejected.reason == m.REJECTED_REASON_MESSAGE_ID_CONFLICT


def test_a_checkpoint_comes_now_and_then_and_before_goaway() -> None:
    """An idle stream's cursor follows the partition, seldom; and once more when it must leave (R10)."""
    bench = live()
    bench.through(5)
    assert bench.kinds() == []
    bench.later(SETTINGS.checkpoint_s)
    (update,) = bench.updates()
    assert decode_cursor(update.checkpoint.cursor).offset == 5
    bench.later(SETTINGS.checkpoint_s)
    assert bench.kinds() == []
    bench.through(8)
    bench.session.leave(1.0, 0.5)
    checkpoint, go_away = bench.updates()
    assert decode_cursor(checkpoint.checkpoint.cursor).offset == 8
    assert go_away.go_away.reason == m.GO_AWAY_REASON_DRAIN


def test_accepted_moves_no_cursor() -> None:
    """A stream's own send changes where it stands only when its event comes (R10)."""
    bench = live()
    before = bench.session.position
    send = m.SendMessage(
        message_id="m", recipients=m.Recipients(user_ids=["bob"]), content=m.Content(text="x")
    )
    bench.frame(m.Command(command_id=2, send_message=send))
    bench.world.log.land()
    bench.world._settle_append()
    assert bench.kinds() == ["accepted"]
    assert bench.session.position == before


def test_outcomes_have_room_although_the_event_lane_is_full() -> None:
    """A ping is answered while events wait, and reading pauses only if outcomes are left lying."""
    bench = live()
    bench.routed(event(0, size=500))
    bench.frame(m.Command(command_id=2, ping=m.Ping()))
    assert bench.kinds() == ["pong", "event"]
    number = 2
    while bench.session.reads_on:
        number += 1
        bench.frame(m.Command(command_id=number, ping=m.Ping()))
    assert bench.session.outbound.outcome_bytes <= SETTINGS.outcome_buffer_bytes + 100


def test_a_client_is_done_when_its_commands_are() -> None:
    """After half-closing the stream ends once everything in flight has its outcome."""
    bench = live()
    send = m.SendMessage(
        message_id="m", recipients=m.Recipients(user_ids=["bob"]), content=m.Content(text="x")
    )
    bench.frame(m.Command(command_id=2, send_message=send))
    bench.session.half_closed()
    assert bench.status() is None
    bench.world.log.land()
    bench.world._settle_append()
    assert bench.status() is StatusCode.OK
    assert bench.kinds() == ["accepted"]


COMMANDS = st.builds(
    lambda number, rest: m.ConnectRequest(commands=[m.Command(command_id=number)]).SerializeToString() + rest,
    st.integers(0, 5),
    st.binary(max_size=40),
)


@given(st.lists(st.one_of(st.binary(max_size=60), COMMANDS), max_size=8))
def test_whatever_a_client_sends_is_answered_or_ends_the_stream(frames: list[bytes]) -> None:
    """No frame makes the session raise; each either leaves outcomes or ends the stream with a status."""
    bench = live()
    for frame in frames:
        bench.session.frame(frame)
        bench.turn()
        assert bench.session.ending is not None or bench.updates()
        if bench.session.ending is not None:
            assert bench.session.ending.status in (
                StatusCode.INVALID_ARGUMENT,
                StatusCode.FAILED_PRECONDITION,
            )
            return


def test_what_a_client_says_of_itself_is_logged() -> None:
    """At debug level, with the stream it opened."""
    with capture_logs() as entries:
        live(client_id="phone", client_info="app 1.0")
    (entry,) = [entry for entry in entries if entry["event"] == "stream opened"]
    assert (entry["client_id"], entry["client_info"], entry["log_level"]) == ("phone", "app 1.0", "debug")
    assert entry["session"] == "s-1"


def test_pings_beyond_the_rate_are_refused_and_sends_go_on() -> None:
    """Commands that append nothing are bounded too, on the stream's user; the stream goes on."""
    bench = live()
    rate = SETTINGS.limits.max_sends_per_second
    kinds: list[str | None] = []
    for number in range(10, 11 + rate):
        bench.frame(m.Command(command_id=number, ping=m.Ping()))
        kinds += bench.kinds()
    assert kinds == ["pong"] * rate + ["rejected"]
    assert bench.session.ending is None


@pytest.mark.parametrize(
    "command",
    [
        m.Command(ping=m.Ping()),
        m.Command(acknowledge=m.Acknowledge()),
        m.Command(mark_read=m.MarkRead()),
        m.Command(),
    ],
)
def test_a_trace_context_is_checked_on_every_command(command: m.Command) -> None:
    """What is no trace context is refused by its name, whatever it comes with."""
    bench = live()
    command.command_id, command.traceparent = 9, "x" * 65
    bench.frame(command)
    (update,) = bench.updates()
    assert (update.rejected.field, update.rejected.limit) == ("traceparent", 64)


def test_a_received_mark_names_the_latest_message_of_the_conversation() -> None:
    """Messages may come in another order than that of their conversation: the mark is through the latest by sent_at."""
    bench = Bench()
    bench.hello()
    bench.claim()
    bench.reply()
    name = conversation_id(["ann", "bob"])
    for offset, (message_id, sent_at_us) in enumerate([("latest", 100), ("earlier", 50)]):
        ref = m.MessageRef(conversation_id=name, sender_id="bob", message_id=message_id)
        ref.sent_at.FromMicroseconds(sent_at_us)
        bench.routed(event(offset, sender="bob", direct=ref.SerializeToString()))
    cursor = Cursor(INCARNATION, 0, 1, 101).encode()
    bench.frame(m.Command(command_id=2, acknowledge=m.Acknowledge(cursor=cursor)))
    ((record, _),) = bench.world.log.appending
    told = m.Event.FromString(log.Record.FromString(record.value).origin.logged.event)
    assert told.received_mark.through.message_id == "latest"
