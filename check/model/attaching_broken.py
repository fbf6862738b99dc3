"""How attaching is tried, and what becomes of it with one rule broken."""

from typing import Any

from cell.delivery.v1 import session_link_pb2 as link
from check.model import attaching_server as server
from check.model.attaching import Attaching, Bounds, State
from check.model.variants import Case, Patch, Suite, Variant
from delivery_service.partition import OwnedPartition
from delivery_service.window import Window
from messaging_core.events import PositionedEvent
from messaging_server.ownership import Ownership
from messaging_server.subscription import ATTACHING, Subscription
from tests.simulation import faults


def _replies_of_any_attempt(patch: Patch) -> None:
    opens = server.opens

    def with_an_old_number(process: server.Server, at: int, cursor: int | None) -> None:
        process.opened = at
        opens(process, at, cursor)

    patch(Subscription, "_is_latest", lambda self, reply: self.state is ATTACHING)
    patch(server, "opens", with_an_old_number)


def _newest_claim_owns(patch: Patch) -> None:
    claim = Ownership.claim

    def newest(self: "Ownership[Any]", which: Any, partition: int, generation: int) -> list[int]:
        return claim(self, which, partition, 1 + max(self._claims[partition].values(), default=0))

    patch(Ownership, "claim", newest)


def _rows_before_position(patch: Patch) -> None:
    def rows(self: Attaching, state: State) -> tuple[int, ...]:
        return tuple(event.offset for event in self._positioned if event.offset < state.stored)

    def page(
        self: Attaching, state: State, read: tuple[int, ...], position: int
    ) -> tuple[int, list[PositionedEvent]]:
        return state.end, [
            event for event in self._positioned if event.offset in read and event.offset > position
        ]

    patch(Attaching, "_first_half", rows)
    patch(Attaching, "_page", page)


def _resumed_at_once(patch: Patch) -> None:
    log_end = Subscription.log_end

    def hasty(self: Subscription, end: int | None, now_s: float) -> None:
        log_end(self, end, now_s)
        self._end = 0

    patch(Subscription, "log_end", hasty)


def _credit_cuts(patch: Patch) -> None:
    def cut(self: OwnedPartition, asked: Any, events: Any, through_offset: int) -> None:
        self._interest.add(asked.outbox, asked.attach.user_number, asked.attach.user_id)
        asked.outbox.reply(asked.attach, link.ATTACH_OUTCOME_ATTACHED, events, self.position - 1, 0)

    patch(OwnedPartition, "_reply_partial", cut)


def _unreadable_are_skipped(patch: Patch) -> None:
    patch(OwnedPartition, "_take_other", lambda self, reading: self._window.skip(reading.offset))


def _evicted_before_history(patch: Patch) -> None:
    patch(Window, "floor", property(lambda self: self.start))


_N = 400_000
_MOVES = Case("2 events, the owner moves", lambda: Attaching(Bounds("uu", breaks=False, throughs=False)), _N)
_MOVES_ONE = Case(
    "an event, the owner moves", lambda: Attaching(Bounds("u", breaks=False, throughs=False)), _N
)
_BREAKS = Case(
    "an event behind others', a stream or a link breaks",
    lambda: Attaching(Bounds("ou", moves=False, links=True, on_links=1)),
    _N,
)
_DIES = Case(
    "an event, the owner dies",
    lambda: Attaching(Bounds("u", moves=False, breaks=False, crashes=True, on_links=1)),
    _N,
)
_TWICE = Case(
    "an event, streams and links break twice",
    lambda: Attaching(Bounds("u", faults=2, moves=False, links=True, on_links=2)),
    _N,
)
_NO_WINDOW = Case(
    "2 events, no window, a stream breaks", lambda: Attaching(Bounds("uu", moves=False, window_bytes=0)), _N
)
_NO_WINDOW_ONE = Case("an event, no window", lambda: Attaching(Bounds("u", moves=False, window_bytes=0)), _N)
_NO_BUFFER = Case(
    "3 events, a buffer for one", lambda: Attaching(Bounds("uuu", faults=0, buffer_bytes=1)), _N
)
_DEVICES = Case(
    "2 events, 2 devices",
    lambda: Attaching(Bounds("uu", durable=1, faults=0, cursors=(-1, 0), throughs=False, on_links=1)),
    _N,
)
_ANEW = Case(
    "2 events, a cursor of another log, a stream breaks",
    lambda: Attaching(Bounds("uu", cursors=(None,), moves=False, on_links=1)),
    _N,
)
_PAST_END = Case(
    "2 events, a cursor that may be past the end",
    lambda: Attaching(Bounds("uu", cursors=(0,), faults=0, on_links=1)),
    _N,
)
_UNREADABLE = Case("one is unreadable, a stream breaks", lambda: Attaching(Bounds("xu", moves=False)), _N)


def _deep(name: str, bounds: Bounds) -> Case:
    return Case(name, lambda: Attaching(bounds._replace(attempts=20)), 1_000_000)


SUITE = Suite(
    "attaching",
    short=(_MOVES, _BREAKS, _DIES, _TWICE, _NO_WINDOW, _NO_BUFFER, _DEVICES, _UNREADABLE, _ANEW, _PAST_END),
    deep=(
        _deep("others' and 2 events, 2 faults of any kind", Bounds("ou", faults=2, crashes=True, links=True)),
        _deep(
            "an event, the owner moves, its link breaks",
            Bounds("u", faults=2, breaks=False, links=True, throughs=False, on_links=1),
        ),
        _deep("2 events, the owner moves twice", Bounds("uu", faults=2, breaks=False, throughs=False)),
        _deep("2 events, no window, moves and breaks", Bounds("uu", faults=2, window_bytes=0, on_links=1)),
        _deep("3 events, a buffer for one, a fault", Bounds("uuu", faults=1, buffer_bytes=1, on_links=1)),
        _deep("2 events, 2 devices, a fault", Bounds("uu", durable=1, cursors=(-1, 0), on_links=1)),
    ),
    variants=tuple(
        Variant(name, rule, break_it, caught_by, case)
        for name, rule, break_it, caught_by, case in (
            (
                "stale-links-are-heard",
                "R7: a former owner's events are taken",
                faults.stale_links_are_heard,
                "I6",
                _MOVES,
            ),
            (
                "a-release-is-anyones",
                "R7: a former owner's release unseats the present one",
                faults.a_release_is_anyones,
                "I10",
                _MOVES_ONE,
            ),
            (
                "newest-claim-owns",
                "R7: the newest claim wins, whatever its generation",
                _newest_claim_owns,
                "I10",
                _MOVES_ONE,
            ),
            (
                "replies-of-any-attempt",
                "R8: a reply to an earlier attach is taken",
                _replies_of_any_attempt,
                "I7",
                _BREAKS,
            ),
            (
                "live-events-to-all",
                "R8: live events go to sessions that are catching up",
                faults.live_events_to_all,
                "I6",
                _DEVICES,
            ),
            (
                "never-behind",
                "R8: an attach older than the window is answered as if it were not",
                faults.never_behind,
                "I7",
                _NO_WINDOW,
            ),
            (
                "evicted-before-history",
                "R8: what left memory is taken for history's, which does not have it",
                _evicted_before_history,
                "I10",
                _NO_WINDOW_ONE,
            ),
            (
                "rows-before-position",
                "R9: a page reads its rows before the position",
                _rows_before_position,
                "I7",
                _NO_WINDOW,
            ),
            (
                "through-raises-all",
                "R10: a link's position raises sessions that are not live",
                faults.through_raises_all,
                "I7",
                _TWICE,
            ),
            (
                "checkpoint-ahead",
                "R10: a checkpoint overtakes events",
                faults.checkpoint_ahead,
                "I7",
                _BREAKS,
            ),
            (
                "resumed-at-once",
                "R11: `resumed` does not wait for what was durable",
                _resumed_at_once,
                "R11",
                _BREAKS,
            ),
            (
                "overflow-drops",
                "R12: a full buffer drops an event and goes on",
                faults.overflow_drops,
                "I7",
                _NO_BUFFER,
            ),
            (
                "credit-cuts",
                "R12: what is beyond an attach's credit is left out",
                _credit_cuts,
                "I7",
                _NO_BUFFER,
            ),
            (
                "unreadable-are-skipped",
                "R5: an unreadable record is no gap",
                _unreadable_are_skipped,
                "I7",
                _UNREADABLE,
            ),
        )
    ),
)
