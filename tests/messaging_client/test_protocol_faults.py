"""The whole protocol under random faults: each send settles right, each event is handed over once and in order."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client.errors import NotDone, OutcomeUnknown
from messaging_client.events import Event, NewMessage, Reset, Snapshot, Started
from messaging_client.settings import ClientSettings
from tests.messaging_client.rig import SETTINGS, Rig

REFUSED = "refused"

Action = Callable[[Rig, int], object]


def write(rig: Rig, how: int, held_up_s: float = 0.0) -> None:
    """Commands reach the cell, and each meets its own fate."""
    for index, command in enumerate(rig.write(held_up_s)):
        fate = (how + index * 7) % 8
        if command.send_message.content.text == REFUSED:
            rig.cell.reject(command)
        elif fate <= 2:
            rig.cell.accept(command)
        elif fate == 3:
            rig.cell.append_of_user(command.send_message)  # and the outcome is lost
        elif fate == 4:
            rig.cell.reject(command, retry_after_s=how / 100)
        elif fate == 5:
            rig.cell.reject(command, unknown=True, retry_after_s=0.0)
            rig.cell.land_later(command, how / 10)
        elif fate == 6:
            rig.cell.land_later(command, how / 10)  # and nobody says anything
        else:
            rig.cell.reject(command, unknown=True)


def break_stream(rig: Rig, how: int) -> None:
    if rig.protocol.stream is not None:
        rig.break_stream()


def withdraw(rig: Rig, how: int) -> None:
    if rig.sent:
        rig.withdraw(f"ann-{1 + how % rig.sent}")


def again(rig: Rig, how: int) -> None:
    if rig.sent:
        rig.send_again(f"ann-{1 + how % rig.sent}")


def history(rig: Rig, how: int) -> None:
    rig.history_is_up = bool(how % 2)


def post_refused(rig: Rig, how: int) -> None:
    rig.post(wait=bool(how % 2), text=REFUSED)


ACTIONS: dict[str, Action] = {
    "post": lambda rig, how: rig.post(),
    "send": lambda rig, how: rig.post(wait=True),
    "post refused": post_refused,
    "withdraw": withdraw,
    "again": again,
    "other": lambda rig, how: rig.cell.append_of_other(),
    "step": lambda rig, how: rig.step(),
    "write": write,
    "write late": lambda rig, how: write(rig, how, how / 4),
    "push": lambda rig, how: rig.cell.push(1 + how % 9),
    "read": lambda rig, how: rig.read(1 + how % 9),
    "take": lambda rig, how: rig.take(),
    "break": break_stream,
    "checkpoint": lambda rig, how: rig.cell.checkpoint(),
    "a moment": lambda rig, how: rig.pass_time(how / 50),
    "a while": lambda rig, how: rig.pass_time(how / 2),
    "persist": lambda rig, how: rig.cell.persist(how % 9),
    "history": history,
    "commit": lambda rig, how: rig.commit(),
}
MAYBE_ONCE: dict[str, Action] = {
    "trim": lambda rig, how: rig.cell.trim(),
    "kill": lambda rig, how: rig.kill(),
}


def replace_log(rig: Rig, how: int) -> None:
    """A cell that lost its log; what was under way then may be gone or in history, but never in both."""
    rig.cell.persist(1_000)
    rig.cell.replace_log()
    if rig.protocol.stream is not None:
        rig.break_stream()


def steps(*tables: dict[str, Action]) -> st.SearchStrategy[list[tuple[str, int]]]:
    names = [name for table in tables for name in table]
    # What moves things along comes up more often.
    names += ["step", "write", "push", "read", "take", "post", "step", "write", "read", "push"]
    return st.lists(st.tuples(st.sampled_from(names), st.integers(0, 255)), max_size=120)


def run(script: list[tuple[str, int]], table: dict[str, Action]) -> Rig:
    rig = Rig()
    for name, how in script:
        table[name](rig, how)
        rig.after()
    for message_id in sorted(rig.awaited):
        rig.withdraw(message_id)
    rig.commit()
    settle_refusing(rig)
    return rig


def settle_refusing(rig: Rig, take: Callable[[], Event | None] | None = None) -> None:
    """Faults are over; but what is refused is refused for ever."""
    accept = rig.cell.accept

    def accept_or_refuse(command: messaging.Command) -> None:
        if command.send_message.content.text == REFUSED:
            rig.cell.reject(command)
        else:
            accept(command)

    rig.cell.accept = accept_or_refuse  # type: ignore[method-assign]
    rig.settle(take)
    rig.pass_time(100.0)
    rig.settle(take)


def check_sends(rig: Rig) -> None:
    """Accepted: exactly once. Not done: never. Unknown: at most once. Posted: exactly once, or told that it was refused."""
    for message_id, error in rig.outcomes.items():
        count = rig.cell.effective(message_id)
        if error is None:
            assert count == 1, f"{message_id} was accepted and is there {count} times"
        elif isinstance(error, NotDone):
            assert count == 0, f"{message_id} was not done and is there {count} times"
        else:
            assert isinstance(error, OutcomeUnknown)
            assert count <= 1, f"{message_id} is there {count} times"
    for message_id in rig.promised:
        count = rig.cell.effective(message_id)
        assert count == (message_id not in rig.unsent), f"{message_id} was posted and is there {count} times"


def check_events(rig: Rig) -> None:
    """Everything behind the start is handed over, in order; only a Gap or a Reset leaves something out, and says so."""
    positions = {cursor: index for index, (cursor, _) in enumerate(rig.cell.all_effective())}
    order = [cursor for cursor, _ in rig.cell.all_effective()]

    def place(cursor: str) -> tuple[int, int]:
        incarnation, offset = cursor.split("/")
        return int(incarnation), int(offset)

    handed = [event for event in rig.handed if isinstance(event, NewMessage)]
    assert [place(e.cursor) for e in handed] == sorted({place(e.cursor) for e in handed}), "once and in order"
    taken = {event.cursor for event in rig.taken if isinstance(event, NewMessage)}
    excused: set[str] = set()
    at: tuple[int, int] | None = None
    for event in rig.taken:
        if isinstance(event, Snapshot):
            # A second Started comes only where the application was killed before it had taken the first for good.
            start = place(event.cursor)
            excused |= {c for c in order if (at is None or place(c) > at) and place(c) <= start}
            if isinstance(event, Reset):
                excused |= {c for c in order if place(c)[0] < start[0]}
            at = start if at is None else max(at, start)
        elif isinstance(event, NewMessage):
            at = place(event.cursor) if at is None else max(at, place(event.cursor))
    missing = set(positions) - taken - excused
    assert not missing, f"never handed over: {sorted(missing, key=place)}"


@settings(max_examples=1_000)
@given(steps(ACTIONS))
def test_each_send_settles_right_and_each_event_comes_once(script: list[tuple[str, int]]) -> None:
    """Under breaks, lost and late outcomes, late appends, passing retry windows and a history that lags or is down."""
    rig = run(script, ACTIONS)
    check_sends(rig)
    check_events(rig)
    assert sum(isinstance(event, Started) for event in rig.handed) == 1


@settings(max_examples=1_000)
@given(steps(ACTIONS, MAYBE_ONCE))
def test_an_application_may_be_killed_and_events_be_gone(script: list[tuple[str, int]]) -> None:
    """The same, while the application is killed at any time and a stream can only say that there is a gap."""
    rig = run(script, ACTIONS | MAYBE_ONCE)
    check_sends(rig)
    check_events(rig)


def answer(rig: Rig, how: int) -> None:
    """What a service does that answers each message, for some moments."""
    for _ in range(1 + how % 3):
        answer_and_take(rig)


def answer_and_take(rig: Rig) -> Event | None:
    rig.answer()
    return rig.take()


ANSWERING = {name: act for name, act in ACTIONS.items() if name != "take"} | {"answer": answer}


@settings(max_examples=1_000)
@given(steps(ANSWERING, {"kill": MAYBE_ONCE["kill"]}))
def test_an_answer_posted_with_taking_is_sent_exactly_once(script: list[tuple[str, int]]) -> None:
    """However often the application is killed, each message that it was given has one answer."""
    rig = Rig()
    table = ANSWERING | {"kill": MAYBE_ONCE["kill"], "take": answer}
    for name, how in script:
        table[name](rig, how)
        rig.after()
    rig.commit()
    settle_refusing(rig, lambda: answer_and_take(rig))
    given_out = {e.message.ref.message_id for e in rig.taken if isinstance(e, NewMessage) and not e.mine}
    answered = [
        record.message_id.rsplit("-", 1)[0].removeprefix("answer-")
        for _, record in rig.cell.all_effective()
        if record.message_id.startswith("answer-")
    ]
    assert sorted(answered) == sorted(given_out)


REPLACING = ACTIONS | MAYBE_ONCE | {"replace": replace_log}


@settings(max_examples=1_000)
@given(steps(REPLACING))
def test_another_log_doubles_nothing(script: list[tuple[str, int]]) -> None:
    """The same, while the cell's log is replaced by another one, with all of history kept."""
    rig = run(script, REPLACING)
    check_sends(rig)
    check_events(rig)


FROM_THE_BEGINNING = ClientSettings(max_in_flight=6, acknowledges=False, resume_after="")


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "killed"])
@pytest.mark.parametrize("seconds", [1.0, 100.0], ids=["in its window", "later"])
@pytest.mark.parametrize("settings_", [SETTINGS, FROM_THE_BEGINNING], ids=["cursor", "no cursor"])
def test_a_try_in_another_log_is_looked_for_in_history(
    settings_: ClientSettings, seconds: float, killed: bool
) -> None:
    """Welcome names the log: what was tried in the one before is not tried blindly before the cell has said RESET.

    Neither where the client has no cursor yet that could be of the other log, nor after a restart.
    """
    rig = Rig(settings_)
    if settings_ is SETTINGS:
        rig.step()
        rig.take()
        rig.take()
    rig.step()
    rig.read()
    message_id = rig.post()
    (command,) = rig.write()
    rig.cell.append_of_user(command.send_message)
    replace_log(rig, 0)
    if killed:
        rig.kill()
    rig.pass_time(seconds)
    for _ in range(3):
        rig.pass_time(1.0)
        rig.step()
        rig.read()
        for command in rig.write():
            rig.cell.accept(command)
    rig.settle()
    assert rig.cell.effective(message_id) == 1
    assert len(rig.messages(rig.handed)) == 0, "it shows in history"
    assert isinstance(rig.taken[-1], Reset)


def test_a_program_that_is_stopped_between_deciding_and_writing_doubles_nothing() -> None:
    """A try that was decided within its window and would be written long after: the cell has forgotten the first one."""
    rig = Rig()
    rig.step()
    rig.step()
    rig.read()
    message_id = rig.post()
    (command,) = rig.write()
    rig.cell.append_of_user(command.send_message)  # and the outcome is lost
    rig.break_stream()
    rig.pass_time(40.0)
    rig.step()
    rig.read(1)
    for command in rig.write(held_up_s=40.0):
        rig.cell.accept(command)
    rig.settle()
    assert rig.cell.effective(message_id) == 1
