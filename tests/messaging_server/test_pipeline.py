"""Order, outcomes (R4), deadlines (R3) and times (I12) of commands, with a clock in the test's hand."""

import gc
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as m
from event_log.port import Fate, LogFull, NewRecord, Settled
from messaging_core.clock import HybridClock
from messaging_core.ids import conversation_id
from messaging_core.limits import ACCEPT_DEADLINE_S, Limits
from messaging_core.refusals import Refused
from messaging_server.commands import Prepared
from messaging_server.conversations import Found, not_found, unavailable
from messaging_server.pipeline import CommandDesk, Pending, Pipeline
from messaging_server.recent import Rates, RecentCommands
from messaging_server.settings import ServerSettings
from telemetry import catalogue
from tests.messaging_server.memory_cell import text_message


class HandLog:
    """Appends wait until the test settles them."""

    def __init__(self) -> None:
        self.appended: list[tuple[NewRecord[Any], Callable[[Sequence[Settled[Any]]], None]]] = []
        self.full = False

    def partition_of(self, user_id: str) -> int:
        return 0

    def append(self, records: Sequence[Any], on_settled: Callable[[Sequence[Settled[Any]]], None]) -> None:
        if self.full:
            raise LogFull("full")
        self.appended.extend((record, on_settled) for record in records)

    def settle(self, fate: Fate = Fate.APPENDED) -> None:
        record, on_settled = self.appended.pop(0)
        on_settled([Settled(record.tag, fate, 0 if fate is Fate.APPENDED else -1)])

    @property
    def events(self) -> list[log.LoggedEvent]:
        return [log.Record.FromString(record.value).origin.logged for record, _ in self.appended]


class HandConversations:
    """Knows what `registered` says; other answers come when the test gives them."""

    def __init__(self) -> None:
        self.registered: dict[str, tuple[str, ...]] = {}
        self.asked: list[tuple[Prepared, Callable[[Found], None]]] = []

    def known(self, prepared: Prepared) -> tuple[str, ...] | None:
        return self.registered.get(prepared.conversation_id)

    def find(self, prepared: Prepared, then: Callable[[Found], None]) -> None:
        self.asked.append((prepared, then))

    def answer(self, found: Found | None = None) -> None:
        prepared, then = self.asked.pop(0)
        if found is None:
            assert prepared.participants
            found = self.registered[prepared.conversation_id] = prepared.participants
        then(found)


class Desk:
    """A desk with one pipeline, and the outcomes it gave."""

    def __init__(
        self, *, limits: Limits | None = None, clock: HybridClock | None = None, **settings: Any
    ) -> None:
        self.now_s = 100.0
        self.log = HandLog()
        self.conversations = HandConversations()
        self.outcomes: list[tuple[int, str]] = []
        self.desk = CommandDesk(
            log=self.log,  # type: ignore[arg-type]
            clock=clock or HybridClock(),
            settings=ServerSettings(server_id="s", limits=limits or Limits(), **settings),
            conversations=self.conversations,  # type: ignore[arg-type]
            recent=RecentCommands(1_000),
            rates=Rates((limits or Limits()).max_sends_per_second, 10),
            now_s=lambda: self.now_s,
            on_change=lambda: None,
        )
        self.pipeline = Pipeline(self.desk, "alice", self)

    def send(
        self, number: int, to: str = "bob", text: str = "x", message_id: str = "", **fields: Any
    ) -> None:
        command = text_message(to, text, message_id or f"m{number}", **fields)
        command.command_id = number
        try:
            self.pipeline.check(command)
            self.pipeline.take(command)
        except Refused as refused:
            self._note(number, refused)
        self.desk.submit()

    def accepted(self, pending: Pending) -> None:
        self.outcomes.append((pending.command_id, "accepted"))

    def refused(self, pending: Pending, refused: Refused) -> None:
        self._note(pending.command_id, refused)

    def _note(self, number: int, refused: Refused) -> None:
        reason = m.RejectedReason.Name(refused.reason).removeprefix("REJECTED_REASON_")
        unknown = refused.outcome == m.REJECTED_OUTCOME_UNKNOWN
        self.outcomes.append((number, reason + ("?" if unknown else "")))


def test_accepted_only_after_the_log_has_it() -> None:
    """No outcome before the fate; each fate has its own (R4)."""
    desk = Desk()
    desk.send(1)
    assert desk.outcomes == []
    desk.conversations.answer()
    for number in range(2, 5):
        desk.send(number)
    assert desk.outcomes == []
    for fate in (Fate.APPENDED, Fate.NOT_APPENDED, Fate.UNKNOWN, Fate.APPENDED):
        desk.log.settle(fate)
    assert desk.outcomes == [(1, "accepted"), (2, "UNAVAILABLE"), (3, "UNAVAILABLE?"), (4, "accepted")]
    assert desk.pipeline.count == 0


def test_a_full_log_is_not_done() -> None:
    """What the log refuses at once has certainly not happened, and its id is free."""
    desk = Desk()
    desk.send(1)
    desk.conversations.answer()
    desk.log.full = True
    desk.send(2, message_id="again")
    desk.log.full = False
    desk.send(3, text="other", message_id="again")
    assert desk.outcomes == [(2, "UNAVAILABLE")]
    assert len(desk.log.appended) == 2


def test_no_accepted_after_the_deadline() -> None:
    """After D the outcome is unknown, whether the log settles late or never, and it is given once."""
    desk = Desk()
    desk.send(1)
    desk.conversations.answer()
    desk.send(2)
    desk.now_s += ACCEPT_DEADLINE_S + 0.1
    desk.log.settle()
    assert desk.outcomes == [(1, "DEADLINE?")]
    desk.desk.expire()
    assert desk.outcomes[1:] == [(2, "DEADLINE?")]
    desk.log.settle()
    assert len(desk.outcomes) == 2
    assert not desk.desk.in_flight


def test_what_is_settled_is_not_kept_behind_what_is_not() -> None:
    """An append that takes long keeps neither the commands after it in memory, nor their number in the figure."""
    desk = Desk()
    desk.conversations.registered[conversation_id(("alice", "bob"))] = ("alice", "bob")
    for number in range(1, 5):
        desk.send(number)
    slow = desk.log.appended.pop(0)
    for _ in range(3):
        desk.log.settle()
    assert desk.outcomes == [(2, "accepted"), (3, "accepted"), (4, "accepted")]
    kept = [held for held in gc.get_objects() if isinstance(held, Pending) and held.owner is desk.pipeline]
    assert [held.command_id for held in kept] == [1]
    del kept
    assert {figure.metric: figure.value for figure in desk.desk.figures_now()}[catalogue.IN_FLIGHT] == 1
    desk.log.appended.append(slow)
    desk.log.settle()
    assert not desk.desk.in_flight


def test_commands_behind_one_that_waits_keep_their_order() -> None:
    """A command whose conversation is not known holds those behind it; all are appended in the order of the stream."""
    desk = Desk()
    desk.send(1, "bob")
    desk.conversations.answer()
    desk.send(2, "carol")
    desk.send(3, "bob")
    desk.send(4, "dave")
    desk.send(5, "bob")
    assert len(desk.log.appended) == 1
    desk.conversations.answer()
    assert len(desk.log.appended) == 3
    desk.conversations.answer()
    stamps = [event.event_time_us for event in desk.log.events]
    names = [m.Event.FromString(event.event).message.ref.message_id for event in desk.log.events]
    assert names == ["m1", "m2", "m3", "m4", "m5"]
    assert stamps == sorted(set(stamps))


def test_a_command_that_waited_too_long_is_not_done() -> None:
    """Held longer than `hold_s` a command is refused, never appended: its client may have sent it elsewhere."""
    desk = Desk(hold_s=5.0)
    desk.send(1, "bob")
    desk.send(2, "carol")
    desk.now_s += 6
    desk.conversations.answer()
    assert desk.outcomes == [(1, "UNAVAILABLE"), (2, "UNAVAILABLE")]
    assert desk.log.appended == []
    assert desk.desk.held_bytes == 0


def test_what_the_registry_cannot_tell_is_refused() -> None:
    """NOT_FOUND for what does not exist, UNAVAILABLE where history is away; those behind go on."""
    desk = Desk()
    for number, name in enumerate(("bob", "carol", "dave"), 1):
        desk.send(number, name)
    desk.conversations.answer(not_found())
    desk.conversations.answer(unavailable())
    desk.conversations.answer()
    assert desk.outcomes == [(1, "NOT_FOUND"), (2, "UNAVAILABLE")]
    assert len(desk.log.appended) == 1


def test_who_is_not_in_a_conversation_gets_not_found() -> None:
    """A registered conversation without the sender, or without the one it answers, is NOT_FOUND."""
    desk = Desk()
    desk.send(1, "bob")
    desk.conversations.answer(("bob", "carol"))
    assert desk.outcomes == [(1, "NOT_FOUND")]


def test_another_payload_under_a_known_id_is_refused() -> None:
    """The first payload stands; the same payload again is appended again, for the readers to drop (R3)."""
    desk = Desk()
    desk.send(1, message_id="same")
    desk.conversations.answer()
    desk.send(2, message_id="same")
    desk.send(3, message_id="same", text="other")
    assert desk.outcomes == [(3, "MESSAGE_ID_CONFLICT")]
    assert len(desk.log.appended) == 2


def test_a_refused_command_leaves_its_id_free() -> None:
    """A command that was refused for its form does not count as the first payload of its id."""
    desk = Desk()
    desk.send(1, "bob")
    desk.conversations.answer()
    desk.send(2, "bob", text="", message_id="id")
    desk.send(3, "bob", text="good", message_id="id")
    assert desk.outcomes == [(2, "INVALID_FIELD")]


def test_limits_in_flight_and_a_second() -> None:
    """Commands and bytes in flight, and commands a second, are refused beyond their limits, with a hint."""
    desk = Desk(limits=Limits(max_in_flight=2))
    for number in range(1, 4):
        desk.send(number)
    assert desk.outcomes == [(3, "TOO_MANY_IN_FLIGHT")]
    desk = Desk(limits=Limits(max_sends_per_second=2))
    for number in range(1, 4):
        desk.send(number)
    assert desk.outcomes == [(3, "RATE_LIMITED")]
    desk = Desk(in_flight_bytes=10_000)
    for number in range(1, 4):
        desk.send(number, text="x" * 6_000)
    assert desk.outcomes == [(2, "TOO_MANY_IN_FLIGHT"), (3, "TOO_MANY_IN_FLIGHT")]


def test_held_bytes_of_a_server_are_bounded() -> None:
    """While the registry is slow no more than `held_bytes` wait; beyond, commands are refused and nothing leaks."""
    desk = Desk(held_bytes=10_000)
    for number in range(1, 4):
        desk.send(number, text="x" * 6_000)
    assert [name for _, name in desk.outcomes] == ["UNAVAILABLE", "UNAVAILABLE"]
    desk.pipeline.close()
    desk.conversations.answer()
    assert (desk.desk.held_bytes, desk.log.appended) == (0, [])


def test_command_ids_rise() -> None:
    """A command id that is 0 or does not rise is refused; the stream goes on."""
    desk = Desk()
    for number in (2, 2, 1, 0, 3):
        desk.send(number)
    assert desk.outcomes == [(2, "INVALID_FIELD"), (1, "INVALID_FIELD"), (0, "INVALID_FIELD")]


@given(
    st.lists(st.tuples(st.sampled_from(["send", "land", "not", "unknown", "late", "answer"])), max_size=60)
)
def test_every_command_has_one_outcome(steps: list[tuple[str]]) -> None:
    """Whatever the log and the registry do, each command gets one outcome, and Accepted only for what is appended."""
    desk = Desk(limits=Limits(max_in_flight=8))
    number = 0
    landed: list[int] = []
    for (step,) in steps:
        if step == "send":
            number += 1
            desk.send(number, random.Random(number).choice(["bob", "carol", "dave"]))
        elif step == "late":
            desk.now_s += 4
            desk.desk.expire()
        elif step == "answer" and desk.conversations.asked:
            desk.conversations.answer()
        elif step in ("land", "not", "unknown") and desk.log.appended:
            fate = {"land": Fate.APPENDED, "not": Fate.NOT_APPENDED, "unknown": Fate.UNKNOWN}[step]
            if fate is Fate.APPENDED:
                landed.append(desk.log.appended[0][0].tag.command_id)
            desk.log.settle(fate)
    while desk.conversations.asked:
        desk.conversations.answer()
    while desk.log.appended:
        desk.log.settle(Fate.UNKNOWN)
    assert sorted(command_id for command_id, _ in desk.outcomes) == list(range(1, number + 1))
    assert {command_id for command_id, name in desk.outcomes if name == "accepted"} <= set(landed)
    assert (desk.pipeline.count, desk.desk.held_bytes) == (0, 0)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.integers(0, 5_000)), max_size=40),
    st.integers(-20, 20),
)
def test_times_rise_above_all_that_was_shown(steps: list[tuple[int, bool, int]], skew_s: int) -> None:
    """sent_at is above every event shown to the user before and its reply_to, on two servers of skewed clocks (I12)."""
    wall = [1_000_000_000]
    clocks = [HybridClock(lambda: wall[0]), HybridClock(lambda: wall[0] + skew_s * 1_000_000)]
    desks = [Desk(clock=clock) for clock in clocks]
    shown = 0
    last = [0, 0]
    ref = m.MessageRef()
    for number, (server, replies, pause_us) in enumerate(steps, 1):
        wall[0] += pause_us
        desk = desks[server]
        clocks[server].observe(shown)  # the cursor of hello, or an event that this server showed
        desk.send(number, reply_to=ref if replies and shown else None)
        if desk.conversations.asked:
            desk.conversations.answer()
        assert desk.outcomes == []
        logged = desk.log.events[-1]
        assert logged.event_time_us > max(shown, last[server])
        shown = last[server] = logged.event_time_us
        ref = m.Event.FromString(logged.event).message.ref
        desk.log.settle()
        desk.outcomes.clear()


def test_a_mark_that_does_not_rise_is_accepted_without_a_record() -> None:
    """Once a mark is durable, those behind it are too (I11, I13); until then each is appended, whatever is under way."""
    desk = Desk()
    both = ("alice", "bob")
    desk.conversations.registered[conversation_id(both)] = both

    def mark_read(number: int, sent_at_us: int) -> None:
        ref = m.MessageRef(conversation_id=conversation_id(both), sender_id="bob", message_id="m")
        ref.sent_at.FromMicroseconds(sent_at_us)
        command = m.Command(command_id=number, mark_read=m.MarkRead(through=ref))
        desk.pipeline.take(command)
        desk.desk.submit()

    mark_read(1, 20)
    mark_read(2, 10)
    assert desk.outcomes == []
    assert len(desk.log.appended) == 2
    desk.log.settle()
    desk.log.settle(Fate.UNKNOWN)
    mark_read(3, 10)
    mark_read(4, 20)
    assert desk.log.appended == []
    assert desk.outcomes == [(1, "accepted"), (2, "UNAVAILABLE?"), (3, "accepted"), (4, "accepted")]
    mark_read(5, 21)
    assert len(desk.log.appended) == 1
    assert desk.pipeline.count == 1


def test_commands_that_append_nothing_have_a_rate_of_their_own() -> None:
    """Beyond it they are RATE_LIMITED, with the limit and when to come back; those that append are not counted with them."""
    desk = Desk(limits=Limits(max_sends_per_second=3))
    for _ in range(3):
        desk.pipeline.count_other()
    with pytest.raises(Refused) as refused:
        desk.pipeline.count_other()
    assert (refused.value.reason, refused.value.limit) == (m.REJECTED_REASON_RATE_LIMITED, 3)
    assert 0 < (refused.value.retry_seconds() or 0) <= 1 / 3
    desk.send(1)
    desk.conversations.answer()
    desk.log.settle()
    assert desk.outcomes == [(1, "accepted")]
    desk.now_s += 0.34
    desk.pipeline.count_other()
