"""How times are tried, and what becomes of them with one rule broken."""

from check.model import times
from check.model.times import State, Times
from check.model.variants import Case, Patch, Suite, Variant
from tests.simulation import faults


def _cursor_without_time(patch: Patch) -> None:
    patch(Times, "_opened", lambda self, state, number: state._replace(at=number))


def _cursor_with_its_own_time(patch: Patch) -> None:
    patch(times, "_newest", lambda log: log[-1].time_us if log else 0)


def _sends_at_once(patch: Patch) -> None:
    def may_send(self: Times, state: State) -> bool:
        return True

    patch(Times, "_may_send", may_send)


_SHORT = Case("3 messages, a fault", lambda: Times(3, 1), 400_000)

SUITE = Suite(
    "times",
    short=(_SHORT,),
    deep=(Case("3 messages, 2 faults", lambda: Times(3, 2), 1_000_000),),
    variants=(
        Variant(
            "clock-does-not-observe",
            "I12: a server's clock alone gives times",
            faults.clock_does_not_observe,
            "I12",
            _SHORT,
        ),
        Variant(
            "cursor-without-time",
            "I12: a cursor carries no time to the next server",
            _cursor_without_time,
            "I12",
            _SHORT,
        ),
        Variant(
            "cursor-with-its-own-time",
            "I12: a cursor carries the time of its own event, not the newest before it",
            _cursor_with_its_own_time,
            "I12",
            _SHORT,
        ),
        Variant(
            "sends-at-once",
            "assumed: a client that has something accepted that it was not shown waits for `resumed` on its next stream",
            _sends_at_once,
            "I12",
            _SHORT,
        ),
    ),
)
