"""Endings, GoAway, hints and tokens, as the protocol answers them, by a clock that the test holds."""

import logging
import random

import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client.commands import send_message
from messaging_client.errors import ClientFailed, NotDone, Reason, Unauthenticated
from messaging_client.kept import Kept
from messaging_client.protocol import Protocol
from messaging_client.settings import ClientSettings
from messaging_client.steps import Connect, End, Load, Step, Wait
from messaging_client.values import NotifyLevel

SERVER_S = 1_000_000


def client(*, refreshes_token: bool = True, **settings: object) -> Protocol:
    """One that has started before."""
    given = ClientSettings(backoff_s=2.0, max_backoff_s=8.0, **settings)  # type: ignore[arg-type]
    kept = Kept(user_id="ann", cursor="c0")
    return Protocol(given, kept, random.Random(1), refreshes_token=refreshes_token)


def welcome(**limits: int) -> messaging.Update:
    told = messaging.Limits(**{"max_in_flight": 8, "max_commands_per_frame": 4} | limits)  # type: ignore[arg-type]
    told.retry_window.FromSeconds(30)
    update = messaging.Update(welcome=messaging.Welcome(user_id="ann", limits=told))
    update.welcome.server_time.FromSeconds(SERVER_S)
    update.welcome.ping_interval.FromSeconds(30)
    return update


RESUMED = messaging.Update(resumed=messaging.Resumed(cursor="c0", outcome=messaging.RESUME_OUTCOME_RESUMED))


def opened(protocol: Protocol, now_s: float = 0.0, **limits: int) -> None:
    protocol.connect(now_s)
    protocol.received([welcome(**limits), RESUMED], now_s)


def go_away(reason: int, *, after_s: float = 0, close_s: float | None = None) -> messaging.Update:
    update = messaging.Update(go_away=messaging.GoAway(reason=reason))  # type: ignore[arg-type]
    update.go_away.reconnect_after.FromMilliseconds(int(after_s * 1000))
    if close_s is not None:
        update.go_away.close_time.FromMilliseconds(int((SERVER_S + close_s) * 1000))
    return update


def post(protocol: Protocol, id_: str, to: str = "bob") -> None:
    protocol.submit(send_message("hi", to, "", None, NotifyLevel.NORMAL, id_), posted=True)


def waits_until(step: Step) -> float:
    assert isinstance(step, Wait)
    return step.until_s


LEAVING = [
    messaging.GO_AWAY_REASON_UNSPECIFIED,
    messaging.GO_AWAY_REASON_DRAIN,
    messaging.GO_AWAY_REASON_REVOKED,
    messaging.GO_AWAY_REASON_MAX_AGE,
    messaging.GO_AWAY_REASON_SLOW_CONSUMER,
    77,  # a reason of a later version
]


@pytest.mark.parametrize("reason", LEAVING)
def test_go_away_is_obeyed_whatever_its_reason(reason: int) -> None:
    """No more commands, outcomes until close_time, and no stream before reconnect_after; the token is asked for anew."""
    protocol = client()
    opened(protocol)
    post(protocol, "one")
    assert protocol.next_frame(1.0) is not None
    protocol.received([go_away(reason, after_s=7.0, close_s=20.0)], 2.0)
    post(protocol, "two", "carol")
    assert protocol.next_frame(3.0) is None
    assert not protocol.wants_end(19.9)
    assert protocol.wants_end(20.0), "the outcome did not come in time"
    protocol.received([messaging.Update(accepted=messaging.Accepted(command_id=2))], 4.0)
    assert protocol.wants_end(4.0)
    protocol.stream_ended(End("CANCELLED"), 4.0)
    assert waits_until(protocol.next_step(4.0)) == 9.0
    assert isinstance(protocol.next_step(9.0), Connect)
    opened(protocol, 9.0)
    frame = protocol.next_frame(9.0)
    assert frame is not None
    assert [command.send_message.message_id for command in frame.commands] == ["two"]


def test_go_away_without_a_hint_makes_no_storm() -> None:
    """A server that sends everybody away at once is not asked again at once."""
    protocol = client()
    opened(protocol, 5.0)
    protocol.received([go_away(messaging.GO_AWAY_REASON_DRAIN)], 5.0)
    protocol.stream_ended(End("CANCELLED"), 5.0)
    assert waits_until(protocol.next_step(5.0)) == 6.0


def test_a_token_that_runs_out_is_no_reason_to_leave(caplog: pytest.LogCaptureFixture) -> None:
    """TOKEN_EXPIRING asks for a fresh token on the live stream; one who has no source is told in the log."""
    for refreshes in (True, False):
        protocol = client(refreshes_token=refreshes)
        opened(protocol)
        protocol.received([go_away(messaging.GO_AWAY_REASON_TOKEN_EXPIRING, close_s=60)], 1.0)
        assert protocol.token_due_s == (1.0 if refreshes else float("inf"))
        assert not protocol.wants_end(59.0)
    assert "no source" in caplog.text


def test_a_taken_back_token_that_is_the_only_one_ends_the_client() -> None:
    """REVOKED, and then the next stream is refused."""
    protocol = client(refreshes_token=False)
    opened(protocol)
    protocol.received([go_away(messaging.GO_AWAY_REASON_REVOKED)], 1.0)
    protocol.stream_ended(End("UNAUTHENTICATED", "revoked"), 1.0)
    protocol.connect(2.0)
    protocol.stream_ended(End("UNAUTHENTICATED", "revoked"), 2.0)
    with pytest.raises(Unauthenticated, match="revoked"):
        protocol.check()


def test_the_cells_hint_is_kept_and_the_crowd_is_spread_behind_it() -> None:
    """RetryInfo of a stream that was refused: never sooner, and not all at the same moment."""
    starts = []
    for seed in range(20):
        kept = Kept(user_id="ann", cursor="c0")
        protocol = Protocol(ClientSettings(backoff_s=2.0), kept, random.Random(seed))
        protocol.connect(0.0)
        protocol.stream_ended(End("RESOURCE_EXHAUSTED", "too many streams", retry_after_s=10.0), 0.0)
        starts.append(waits_until(protocol.next_step(0.0)))
    assert min(starts) >= 10.0
    assert max(starts) <= 12.0
    assert len(set(starts)) == 20


def test_pauses_grow_to_a_bound_and_start_anew() -> None:
    """Full jitter: anything up to 2, 4, 8, 8 … seconds here; after a whole stream 2 again."""
    protocol = client()
    for bound_s in (2.0, 4.0, 8.0, 8.0):
        protocol.connect(0.0)
        protocol.stream_ended(End("UNAVAILABLE"), 0.0)
        assert 0.0 <= waits_until(protocol.next_step(-1.0)) <= bound_s
    opened(protocol)
    protocol.stream_ended(End("UNAVAILABLE"), 0.0)
    assert waits_until(protocol.next_step(-1.0)) <= 2.0


def test_trouble_is_logged_once_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """And not again with each attempt, until a stream has worked."""
    caplog.set_level(logging.INFO)
    protocol = client()
    for _ in range(3):
        protocol.connect(0.0)
        protocol.stream_ended(End("UNAVAILABLE", "nobody is there"), 0.0)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO"]
    assert "nobody is there" in caplog.text


def test_what_was_not_sent_in_time_says_why() -> None:
    """The error of a send names what keeps the client from the cell."""
    protocol = client()
    protocol.submit(send_message("hi", "bob", "", None, NotifyLevel.NORMAL, "one"), posted=False)
    protocol.connect(0.0)
    protocol.stream_ended(End("UNAVAILABLE", "nobody is there"), 0.0)
    error = protocol.withdraw("one")
    assert isinstance(error, NotDone)
    assert error.reason is Reason.DEADLINE
    assert "nobody is there" in error.detail


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "FAILED_PRECONDITION"])
def test_what_the_cell_refuses_again_and_again_ends_the_client(code: str) -> None:
    """Three times in succession, also after it had worked."""
    protocol = client()
    opened(protocol)
    for _ in range(3):
        assert protocol.failure is None
        protocol.stream_ended(End(code, "no"), 0.0)
        protocol.connect(0.0)
    with pytest.raises(ClientFailed, match=code):
        protocol.check()


@pytest.mark.parametrize("code", ["UNIMPLEMENTED", "NOT_FOUND", "PERMISSION_DENIED"])
def test_what_is_no_cell_ends_a_client_that_never_met_one(code: str) -> None:
    """A wrong address is told. Where there was a cell before, something stands in for it, and is asked again."""
    for has_worked in (False, True):
        protocol = client()
        if has_worked:
            opened(protocol)
        for _ in range(3):
            protocol.connect(0.0)
            protocol.stream_ended(End(code, "no"), 0.0)
        assert (protocol.failure is None) is has_worked


def test_frames_hold_no_more_commands_than_the_cell_takes() -> None:
    """Also where a token, a ping and the application's commands are due at once."""
    protocol = client()
    opened(protocol, max_commands_per_frame=1)
    post(protocol, "one")
    protocol.new_token("fresh", None)
    kinds = []
    while (frame := protocol.next_frame(30.0)) is not None:
        (command,) = frame.commands
        kinds.append(command.WhichOneof("command"))
    assert kinds == ["refresh_token", "ping", "send_message"]


def test_a_failure_does_not_collect_where_it_was_raised() -> None:
    """Whoever goes on to use a failed client gets the same error each time, and it does not grow."""
    protocol = client()
    protocol.fail(ClientFailed("over"))
    lengths = set()
    for _ in range(3):
        with pytest.raises(ClientFailed) as caught:
            protocol.check()
        lengths.add(len(caught.traceback))
    assert len(lengths) == 1


def accepted(command_id: int) -> messaging.Update:
    return messaging.Update(accepted=messaging.Accepted(command_id=command_id))


def own_event(id_: str) -> messaging.Update:
    event = messaging.Event(cursor="c1")
    event.message.ref.sender_id, event.message.ref.message_id = "ann", id_
    return messaging.Update(event=event)


def sent_and_accepted() -> Protocol:
    """One message is accepted, another one waits; then the stream breaks, and the next one is welcomed at 5 s."""
    protocol = client()
    opened(protocol)
    post(protocol, "one")
    frame = protocol.next_frame(1.0)
    assert frame is not None
    protocol.received([accepted(frame.commands[0].command_id)], 1.0)
    return protocol


def breaks_and_returns(protocol: Protocol) -> None:
    protocol.stream_ended(End("UNAVAILABLE"), 2.0)
    protocol.connect(5.0)
    protocol.received([welcome()], 5.0)
    post(protocol, "two")


def test_what_was_accepted_and_not_shown_is_waited_for() -> None:
    """The next server learns its time by showing it, and gives what is sent then a later one (I12)."""
    protocol = sent_and_accepted()
    breaks_and_returns(protocol)
    assert protocol.next_frame(5.1) is None
    assert protocol.due_s(5.1) == 6.0
    protocol.received([own_event("one"), RESUMED], 5.2)
    assert protocol.next_frame(5.2) is not None


def test_a_cell_that_shows_nothing_is_not_waited_for_long() -> None:
    """Sends go on where events do not: after a second, in which clocks that are kept well agree."""
    protocol = sent_and_accepted()
    breaks_and_returns(protocol)
    assert protocol.next_frame(5.9) is None
    assert protocol.next_frame(6.0) is not None


def test_what_was_shown_is_not_waited_for() -> None:
    """Then the cursor that the client comes with carries its time."""
    protocol = sent_and_accepted()
    protocol.received([own_event("one")], 1.5)
    breaks_and_returns(protocol)
    assert protocol.next_frame(5.0) is not None


GAP = messaging.Update(gap=messaging.Gap(after="c0", until="c5"))


def reloads(protocol: Protocol, now_s: float) -> float:
    """The stream that is open tells a gap and is left; history has the state, and how long that took is returned."""
    protocol.received([GAP, RESUMED], now_s)
    assert protocol.wants_end(now_s)
    protocol.stream_ended(End("CANCELLED"), now_s)
    step = protocol.next_step(now_s)
    then_s = step.until_s if isinstance(step, Wait) else now_s
    assert isinstance(protocol.next_step(then_s), Load)
    protocol.loaded("c0", (), True, (), then_s)
    assert isinstance(protocol.next_step(then_s), Connect)
    return then_s - now_s


def test_a_gap_that_history_has_not_passed_yet_is_not_asked_for_again_at_once() -> None:
    """Pauses grow from one reload to the next, until a stream resumes without a gap; one snapshot waits, not each."""
    protocol = client()
    opened(protocol)
    bounds_s = (2.0, 4.0, 8.0, 8.0)
    pauses_s = []
    for _ in bounds_s:
        pauses_s.append(reloads(protocol, 10.0))
        protocol.connect(10.0)
        protocol.received([welcome()], 10.0)
    assert all(pause_s <= bound_s for pause_s, bound_s in zip(pauses_s, bounds_s, strict=True))
    assert sum(pauses_s) > 4.0
    protocol.received([RESUMED], 10.0)
    assert reloads(protocol, 20.0) <= 2.0
    snapshots = 0
    while protocol.hand_over(20.0) is not None:
        snapshots += 1
    assert snapshots == 1


def test_a_cursor_past_the_end_again_and_again_is_asked_for_ever_more_rarely() -> None:
    """History may be ahead of a log that was put back: pauses grow although loading works each time."""
    protocol = client()
    pauses_s = []
    for _ in range(6):
        protocol.connect(0.0)
        protocol.stream_ended(End("OUT_OF_RANGE", "past the end"), 0.0)
        step = protocol.next_step(-1.0)
        pauses_s.append(waits_until(step))
        protocol.loaded("c0", (), True, (), 0.0)
    assert sum(pauses_s[2:]) > 8.0


def filled() -> Protocol:
    """An application takes nothing any more, and the inbox is full; what had been sent has no outcome."""
    protocol = client(max_event_bytes=2_000)
    opened(protocol)
    post(protocol, "one")
    assert protocol.next_frame(0.0) is not None
    for n in range(2):
        event = messaging.Event(cursor=f"c{n}")
        event.message.ref.sender_id, event.message.ref.message_id = "bob", f"b{n}"
        protocol.received([messaging.Update(event=event)], 0.0)
    protocol.stream_ended(End("UNAVAILABLE"), 0.0)
    return protocol


def test_a_program_that_takes_nothing_gets_new_streams_and_outcomes_on_them() -> None:
    """The answer to hello is read although the inbox is full; and then no more, unless an outcome is due."""
    protocol = filled()
    protocol.connect(1.0)
    reads = [protocol.reads]
    protocol.received([welcome()], 1.0)
    reads.append(protocol.reads)
    assert protocol.next_frame(1.0) is not None, "within its window it is tried blindly"
    reads.append(protocol.reads)
    assert reads == [True, False, True]


def test_a_program_that_takes_nothing_has_what_it_sent_looked_for() -> None:
    """Behind its window a command needs `resumed`, and that is behind events: they are read, up to the bound."""
    protocol = filled()
    protocol.connect(100.0)
    protocol.received([welcome()], 100.0)
    assert protocol.next_frame(100.0) is None
    assert protocol.reads
    protocol.received([RESUMED], 100.0)
    assert protocol.next_frame(100.0) is not None


def test_a_frame_that_was_held_up_is_not_written() -> None:
    """A try that is written too late could be a second message: the stream is left, and what becomes of it is looked for."""
    protocol = client()
    opened(protocol)
    post(protocol, "one")
    assert protocol.next_frame(0.0) is not None
    assert protocol.may_write(1.0)
    protocol.stream_ended(End("UNAVAILABLE"), 1.0)
    opened(protocol, 29.0)
    assert protocol.next_frame(29.0) is not None
    assert not protocol.may_write(30.0), "the window of the first try is over"
    assert protocol.wants_end(30.0)
    protocol.stream_ended(End("CANCELLED"), 30.0)
    assert protocol.trouble == ""
    protocol.connect(31.0)
    protocol.received([welcome()], 31.0)
    assert protocol.next_frame(31.0) is None
    protocol.received([RESUMED], 31.0)
    assert protocol.next_frame(31.0) is not None
    protocol.received([accepted(2)], 31.0)
    assert protocol.next_frame(61.0) is not None
    assert protocol.may_write(100.0), "a ping hurts at no time"
