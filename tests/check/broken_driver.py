"""The Python SDK's driver with one rule broken: `python -m tests.check.broken_driver FAULT`.

Each fault is a mistake that an author of an SDK may make; the conformance scenarios must notice it.
"""

import asyncio
import sys
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from cell.messaging.v1 import messaging_pb2 as messaging
from check.conformance import python_driver
from messaging_client import events, protocol, wire
from messaging_client.backoff import Backoff
from messaging_client.connection import Connection
from messaging_client.errors import NotDone
from messaging_client.inbox import Inbox
from messaging_client.kept import Moved
from messaging_client.outbox import Outbox
from messaging_client.outgoing import Outgoing, View
from messaging_client.protocol import Protocol
from messaging_client.steps import End
from messaging_client.store import MemoryStore
from messaging_client.stream import Stream
from messaging_client.tokens import Tokens

FAULTS: dict[str, tuple[Callable[[], None], str, str]] = {}
"""By name: what breaks it, the scenario that notices, and words of what that says."""


def fault(scenario: str, says: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(break_it: Callable[[], None]) -> Callable[[], None]:
        FAULTS[break_it.__name__] = break_it, scenario, says
        return break_it

    return register


def put(target: Any, name: str, replacement: Any) -> None:
    setattr(target, name, replacement)


def after(target: Any, name: str, then: Callable[..., None]) -> None:
    """Do something more at the end of a method."""
    original = getattr(target, name)

    def both(self: Any, *arguments: Any, **named: Any) -> Any:
        result = original(self, *arguments, **named)
        then(self, *arguments, **named)
        return result

    put(target, name, both)


@fault("hello_first_and_once", "`hello` as the first command and never again")
def says_hello_twice() -> None:
    original = Protocol.next_frame

    def twice(self: Protocol, now_s: float) -> messaging.ConnectRequest | None:
        frame = original(self, now_s)
        if frame is not None and self.stream is not None:
            hello = messaging.Command(hello=messaging.Hello())
            frame.commands.append(self.stream.numbered(hello, None))
        return frame

    put(Protocol, "next_frame", twice)


@fault("nothing_before_welcome", "nothing after `hello` before Welcome")
def does_not_wait_for_welcome() -> None:
    def opened(self: Stream, *_: Any) -> None:
        self.welcomed = True
        self.view.limits = messaging.Limits(max_in_flight=1, max_commands_per_frame=1)

    after(Stream, "__init__", opened)


@fault("sends_before_resumed", "a send of 'hi'")
def sends_only_when_resumed() -> None:
    original = Stream.room
    put(Stream, "room", lambda self: original(self) if self.view.resumed else 0)


@fault("a_first_start_begins_with_a_snapshot", "resume_after 's1'")
def starts_without_a_snapshot() -> None:
    after(Protocol, "__init__", lambda self, *_, **__: put(self, "_load", None))


@fault("a_warning_refreshes_the_token_on_the_stream", "refresh_token after GoAway")
def ignores_the_warning() -> None:
    original = Protocol._go_away

    def deaf(self: Protocol, stream_: Stream, go_away: messaging.GoAway, now_s: float) -> None:
        if go_away.reason != messaging.GO_AWAY_REASON_TOKEN_EXPIRING:
            original(self, stream_, go_away, now_s)

    put(Protocol, "_go_away", deaf)


@fault("a_token_is_refreshed_before_it_runs_out", "refresh_token within")
def trusts_its_own_clock() -> None:
    put(Stream, "server_us", lambda self, now_s: 0)


@fault("a_refused_token_is_not_used_again", "the new token")
def keeps_its_first_token() -> None:
    original = Tokens.fresh

    async def first(self: Tokens) -> str:
        return self._present or await original(self)

    put(Tokens, "fresh", first)


@fault("many_sends_keep_the_limits", "max_in_flight")
def ignores_the_bound_in_flight() -> None:
    put(Stream, "room", lambda self: 1_000 if self.welcomed and not self.is_leaving else 0)


@fault("a_frame_keeps_its_bytes", "max_frame_bytes")
def makes_frames_of_any_size() -> None:
    put(View, "frame_bytes", 1 << 30)


@fault("command_ids_rise", "command ids that begin above 0 and rise")
def uses_a_command_id_twice() -> None:
    original = Stream.numbered

    def same(self: Stream, command: messaging.Command, slot: Any) -> messaging.Command:
        if not command.HasField("hello"):
            self._last_id = 1
        return original(self, command, slot)

    put(Stream, "numbered", same)


@fault("unknown_updates_are_skipped", "the event message {'text': 'one'}")
def drops_a_frame_with_something_unknown() -> None:
    original = Protocol.received

    def strict(self: Protocol, updates: Any, now_s: float) -> None:
        if all(update.WhichOneof("update") for update in updates):
            original(self, updates, now_s)

    put(Protocol, "received", strict)


@fault("unknown_events_move_the_cursor", "hello.resume_after 'c2'")
def forgets_the_cursor_of_unknown_events() -> None:
    original = Protocol._event

    def known_only(self: Protocol, stream_: Stream, event: messaging.Event) -> None:
        if event.WhichOneof("event"):
            original(self, stream_, event)

    put(Protocol, "_event", known_only)


@fault("unknown_values_of_enums", "cannot go on")
def fails_on_unknown_reasons() -> None:
    put(wire, "reason_from", lambda number: wire.reason_named(messaging.RejectedReason.Name(number)[16:]))


@fault("microseconds_are_kept", "sent_at_us 1763731234123457")
def keeps_milliseconds() -> None:
    put(wire, "micros", lambda time: time.seconds * 1_000_000 + time.nanos // 1_000_000 * 1_000)


@fault("microseconds_are_kept", "the ref as it came")
def sends_milliseconds() -> None:
    def timestamp(time_us: int) -> Timestamp:
        return Timestamp(seconds=time_us // 1_000_000, nanos=time_us % 1_000_000 // 1_000 * 1_000_000)

    put(wire, "timestamp", timestamp)


@fault("an_application_that_stalls_loses_nothing", "expected message")
def drops_events_when_it_is_full() -> None:
    original = Inbox.put

    def bounded(self: Inbox, *arguments: Any, **named: Any) -> None:
        if not self.is_full:
            original(self, *arguments, **named)

    put(Inbox, "put", bounded)
    put(Inbox, "is_overfull", False)


@fault("accepted_moves_no_cursor", "hello.resume_after 'c0'")
def moves_the_cursor_on_accepted() -> None:
    after(Protocol, "_accepted", lambda self, _, command_id, __: put(self, "cursor", f"a{command_id}"))


@fault("it_resumes_after_its_last_cursor", "hello.resume_after 'c4'")
def ignores_checkpoints() -> None:
    original = Protocol._update

    def without(self: Protocol, stream_: Stream, update: messaging.Update, now_s: float) -> None:
        if update.WhichOneof("update") != "checkpoint":
            original(self, stream_, update, now_s)

    put(Protocol, "_update", without)


@fault("repeats_are_dropped", "'text': 'three'")
def tells_repeats() -> None:
    put(Inbox, "is_repeat", lambda self, event: False)


@fault("a_gap_reloads", "stream 2")
def ignores_gaps() -> None:
    original = Protocol._reload

    def only_resets(self: Protocol, stream_: Stream, cause: Any, now_s: float) -> None:
        if cause is not events.Gap:
            original(self, stream_, cause, now_s)

    put(Protocol, "_reload", only_resets)


@fault("a_cursor_past_the_end_reloads", "hello.resume_after 's1'")
def keeps_a_cursor_past_the_end() -> None:
    original = Protocol._ended_by_cell

    def stubborn(self: Protocol, end: Any, now_s: float) -> None:
        original(self, end, now_s)
        self._load = None

    put(Protocol, "_ended_by_cell", stubborn)


@fault("not_done_with_a_hint_is_tried_again", "after retry_after = 1 s")
def ignores_retry_after() -> None:
    original = wire.refusal_from

    def hasty(rejected: messaging.Rejected) -> NotDone:
        refusal = original(rejected)
        refusal.retry_after_s = None if refusal.retry_after_s is None else 0.0
        return refusal

    put(wire, "refusal_from", hasty)


@fault("not_done_without_a_hint_is_told", "the outcome 'not_done'")
def tries_again_for_ever() -> None:
    original = wire.refusal_from

    def hopeful(rejected: messaging.Rejected) -> NotDone:
        refusal = original(rejected)
        refusal.retry_after_s = refusal.retry_after_s or 0.1
        return refusal

    put(wire, "refusal_from", hopeful)


@fault("unknown_is_tried_again_blindly", "a send of 'hi'")
def takes_unknown_for_not_done() -> None:
    def certain(self: Outbox, outgoing: Outgoing, refusal: NotDone, *, unknown: bool, now_s: float) -> None:
        self._settle(outgoing, refusal)

    put(Outbox, "rejected", certain)


@fault("a_broken_stream_leaves_it_unknown", "the same message_id")
def makes_a_new_id_for_each_try() -> None:
    original = Outbox.broken

    def renamed(self: Outbox, in_flight: Iterable[Outgoing]) -> None:
        for outgoing in in_flight:
            outgoing.command.send_message.message_id = uuid.uuid4().hex
            original(self, [outgoing])

    put(Outbox, "broken", renamed)


@fault("late_it_looks_first_and_finds_it", "tried again blindly after Limits.retry_window")
def tries_blindly_for_ever() -> None:
    def any_time(self: Outbox, outgoing: Outgoing, *_: Any) -> None:
        outgoing.blind_until_s = float("inf")

    after(Outbox, "_try", any_time)


@fault("late_it_looks_first_and_sends_anew", "a send of 'hi'")
def gives_up_after_the_window() -> None:
    put(Outbox, "resumed", lambda self, view, now_s: None)


@fault("late_after_a_gap_it_looks_in_history", "it was sent anew although history has it")
def does_not_look_in_history() -> None:
    put(Outbox, "found", lambda self, ids: None)


@fault("another_log_knows_no_ids", "tried blindly in another log")
def forgets_that_logs_differ() -> None:
    original = Protocol._welcome

    def same(self: Protocol, stream_: Stream, welcome: messaging.Welcome, now_s: float) -> None:
        welcome.ClearField("log_incarnation")
        original(self, stream_, welcome, now_s)

    put(Protocol, "_welcome", same)


@fault("a_refusal_after_an_unknown_try_is_not_the_last_word", "stream 3")
def believes_the_last_refusal() -> None:
    put(Outbox, "_refuse", lambda self, outgoing, refusal: self._settle(outgoing, refusal))


@fault("a_conflict_found_late_is_told", "the event not_sent")
def ignores_late_conflicts() -> None:
    put(Protocol, "_tell_unsent", lambda self, command_id, refusal: None)


@fault("what_goes_to_one_place_keeps_its_order", "overtook")
def pipelines_to_one_place() -> None:
    def unordered(self: Outbox, *_: Any, **__: Any) -> None:
        self._in_order = False

    after(Outbox, "__init__", unordered)


@fault("close_waits_for_outcomes", "the outcome 'accepted'")
def closes_at_once() -> None:
    async def impatient(self: Connection, timeout_s: float | None) -> bool:
        return False

    put(Connection, "flushed", impatient)


@fault("it_comes_back_after_every_ending", "stream 2: a new call")
def takes_an_ending_for_the_end() -> None:
    original = Protocol.next_step

    def final(self: Protocol, now_s: float) -> Any:
        if self._streams:
            self._not_before_s = float("inf")
        return original(self, now_s)

    put(Protocol, "next_step", final)


@fault("it_pauses_between_attempts", "pauses between attempts")
def comes_back_at_once() -> None:
    put(Backoff, "failed", lambda self: 0.0)


@fault("what_cannot_be_cured_is_no_storm", "fewer than")
def storms() -> None:
    put(Backoff, "failed", lambda self: 0.0)
    put(protocol, "_USELESS_STREAMS", 1 << 30)


@fault("go_away_is_heeded", "that is to be left")
def ignores_go_away() -> None:
    put(Protocol, "_go_away", lambda self, stream_, go_away, now_s: None)


@fault("go_away_is_heeded", "reconnect_after = 2 s")
def comes_back_too_soon() -> None:
    original = Stream.leave
    put(Stream, "leave", lambda self, by_s, reconnect_s=0.0: original(self, by_s))


@fault("go_away_is_heeded", "the stream until the outcomes have come")
def leaves_without_outcomes() -> None:
    put(Stream, "wants_end", lambda self, now_s: self.is_broken or self.is_leaving)


@fault("it_pings_as_advised", "a ping every second")
def never_pings() -> None:
    put(Stream, "ping", lambda self, now_s: None)


@fault("silence_means_a_dead_stream", "stream 2")
def believes_in_silent_streams() -> None:
    put(Stream, "on_time", lambda self, now_s: None)


@fault("it_waits_as_long_as_an_ending_asks", "RetryInfo.retry_delay = 2.5 s")
def ignores_retry_info() -> None:
    original = Protocol._ended_by_cell

    def hasty(self: Protocol, end: End, now_s: float) -> None:
        original(self, End(end.code, end.detail, end.reason), now_s)

    put(Protocol, "_ended_by_cell", hasty)


@fault("it_starts_again_where_the_application_was", "resume_after one of")
def keeps_the_cursor_of_what_it_received() -> None:
    def moved(self: Protocol, stream_: Stream, event: messaging.Event) -> None:
        self.journal.append(Moved(event.cursor))

    after(Protocol, "_event", moved)


@fault("it_starts_again_where_the_application_was", "the event message {'text': 'three'}")
def keeps_nothing() -> None:
    put(python_driver, "FileStore", lambda path: MemoryStore())


@fault("after_a_restart_it_looks_first_and_finds_it", "tried again blindly after a restart")
def tries_blindly_after_a_restart() -> None:
    def trusting(self: Outbox, kept: Any) -> None:
        for outgoing in self._all.values():
            outgoing.blind_until_s = float("inf")

    after(Outbox, "load", trusting)


@fault("after_a_restart_it_looks_first_and_sends_anew", "the send of the process before")
def forgets_what_it_had_sent() -> None:
    put(Outbox, "load", lambda self, kept: None)


def main(name: str) -> None:
    FAULTS[name][0]()
    asyncio.run(python_driver.main())


if __name__ == "__main__":
    main(sys.argv[1])
