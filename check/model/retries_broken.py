"""How retries are tried, and what becomes of them with one rule broken."""

from dataclasses import replace

from check.model.retries import Retries
from check.model.variants import Case, Patch, Suite, Variant
from messaging_client.errors import NotDone
from messaging_client.outbox import Outbox
from messaging_client.outgoing import Outgoing, View
from messaging_core.limits import ACCEPT_DEADLINE_S, RETRY_WINDOW_S
from tests.simulation import faults


def _for_ever(patch: Patch) -> None:
    patch(Outbox, "_has_no_use", lambda self, outgoing, view, now_s: False)


def _a_longer_window(patch: Patch) -> None:
    patch(View, "window_s", property(lambda self: RETRY_WINDOW_S + ACCEPT_DEADLINE_S + 0.001))


def _window_of_the_latest_try(patch: Patch) -> None:
    try_ = Outbox._try

    def later(self: Outbox, outgoing: Outgoing, view: View, now_s: float, now_us: int) -> None:
        try_(self, outgoing, view, now_s, now_us)
        outgoing.blind_until_s = now_s + view.window_s

    patch(Outbox, "_try", later)


def _window_from_resumed(patch: Patch) -> None:
    judge = Outbox._judge

    def later(self: Outbox, outgoing: Outgoing, view: View, now_s: float) -> None:
        judge(self, outgoing, replace(view, opened_s=now_s), now_s)

    patch(Outbox, "_judge", later)


def _any_stream_tells(patch: Patch) -> None:
    judge = Outbox._judge

    def hasty(self: Outbox, outgoing: Outgoing, view: View, now_s: float) -> None:
        outgoing.stream = min(outgoing.stream, view.number - 1)
        judge(self, outgoing, replace(view, opened_s=now_s), now_s)

    patch(Outbox, "_judge", hasty)


def _refused_is_told_at_once(patch: Patch) -> None:
    judge = Outbox._judge

    def hasty(self: Outbox, outgoing: Outgoing, view: View, now_s: float) -> None:
        outgoing.lands_by_s = -1.0
        judge(self, outgoing, view, now_s)

    patch(Outbox, "_judge", hasty)


def _unknown_is_not_done(patch: Patch) -> None:
    rejected = Outbox.rejected

    def hasty(self: Outbox, outgoing: Outgoing, refusal: NotDone, *, unknown: bool, now_s: float) -> None:
        rejected(self, outgoing, refusal, unknown=False, now_s=now_s)

    patch(Outbox, "rejected", hasty)


def _resumed_too_early(patch: Patch) -> None:
    patch(Retries, "_was_shown", lambda self, state: False)


_N = 400_000
_LONG = Case("8 D, 3 streams", lambda: Retries(horizon=8, streams=3, refusals=0), _N)
_REFUSED = Case("3 D, 3 streams, a refusal", lambda: Retries(horizon=3, streams=3, refusals=1), _N)
_REFUSED_TWICE = Case("2 D, 2 streams, 2 refusals", lambda: Retries(horizon=2, streams=2, refusals=2), _N)


def _rude(horizon: int, streams: int) -> Case:
    name = f"{horizon} D, {streams} streams, never looks"
    return Case(
        name,
        lambda: Retries(horizon=horizon, streams=streams, refusals=0, lands_within=1, is_polite=False),
        _N,
    )


_RUDE, _RUDER = _rude(6, 3), _rude(9, 4)
_PAUSED = Case("tries land within 6 D", lambda: Retries(horizon=8, streams=2, refusals=0, lands_within=6), _N)
_JUMPED = Case(
    "the log's clock jumps ahead", lambda: Retries(horizon=5, streams=3, refusals=0, jumps_at=2), _N
)

SUITE = Suite(
    "retries",
    short=(_LONG, _REFUSED, _REFUSED_TWICE, _RUDE),
    deep=(
        Case("12 D, 4 streams", lambda: Retries(horizon=12, streams=4, refusals=0), 1_000_000),
        _RUDER,
        Case("6 D, 4 streams, a refusal", lambda: Retries(horizon=6, streams=4, refusals=1), 1_000_000),
        Case("6 D, 3 streams, 2 refusals", lambda: Retries(horizon=6, streams=3, refusals=2), 1_000_000),
    ),
    variants=(
        Variant(
            "tries-for-ever", "R3: a client tries blindly for as long as it likes", _for_ever, "I5", _LONG
        ),
        Variant(
            "window-of-w-less-d",
            "R3: blind tries for W - D instead of W - 2 D",
            _a_longer_window,
            "I5",
            _LONG,
        ),
        Variant(
            "window-of-the-latest-try",
            "R3: the window begins anew with each try",
            _window_of_the_latest_try,
            "I5",
            _LONG,
        ),
        Variant(
            "window-from-resumed",
            "R3: after a look the window begins at `resumed`, not where its stream was opened",
            _window_from_resumed,
            "I5",
            _LONG,
        ),
        Variant(
            "any-stream-tells",
            "R3: a stream that was opened before the latest try is believed",
            _any_stream_tells,
            "I5",
            _LONG,
        ),
        Variant(
            "resumed-too-early",
            "R11: `resumed` comes before what was durable when the stream was opened",
            _resumed_too_early,
            "I5",
            _LONG,
        ),
        Variant(
            "ids-of-kept-only",
            "R3: a dropped record does not count for the next",
            faults.ids_of_kept_only,
            "I1",
            _RUDER,
        ),
        Variant("ids-not-rebuilt", "R2: the tail starts at the commit", faults.ids_not_rebuilt, "I1", _LONG),
        Variant(
            "unknown-is-not-done",
            "R4: a try of which nobody knows counts as not done",
            _unknown_is_not_done,
            "I5",
            _REFUSED_TWICE,
        ),
        Variant(
            "refused-is-told-at-once",
            "R4: a refusal is told while an earlier try may still land",
            _refused_is_told_at_once,
            "I5",
            _REFUSED,
        ),
        Variant(
            "late-commands-are-taken",
            "R3: a server that stood still for longer than D goes on with what waited",
            lambda patch: None,
            "I5",
            _PAUSED,
        ),
        Variant(
            "the-log-s-clock-jumps",
            "assumed: the log's clock does not jump ahead by more than what is left of W",
            lambda patch: None,
            "I5",
            _JUMPED,
        ),
    ),
)
