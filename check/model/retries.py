"""Retries: one message, tried again through several servers by a client that does not know what became of it (R3, R4).

Real code: `messaging_client.outbox.Outbox`, which decides when to try, when to look first, and what to tell its caller;
`event_log.reader.PartitionReader` with `RecentIds` and the commits it makes, for whoever reads the log. Time passes in steps
of D, and W, D and the client's window are those of `messaging_core.limits`.

Modelled: streams that break at any time; tries that land at any time within 2 D (D for a pause of the server that it does
not notice, D for holding the command and landing it), or never; answers that are lost, refusals that may be tried again,
ones that may not, and ones that do not know; a stream that says `resumed`, at any time after it was opened, once its client
has been shown what the log had when its end was read; events shown live; a caller that gives up. Readers start again from
any commit, and from a commit made after that. A client that never looks stands for all that do not keep the rules.

Not modelled: the session and delivery between log and client (model `attach`), other commands of the client, its store, the
same id with another payload, a log that was replaced.

- I1: a reader that starts from any commit takes what one takes that never stopped.
- I5, of clients that keep the rules: the message is effective at most once; exactly once where its caller was told that it
  is accepted; never where its caller was told that it is not done (R4).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import NamedTuple

from cell.messaging.v1 import messaging_pb2 as messaging
from check.model.explore import Model, Step, Violation
from check.model.real import Shelf
from check.model.variants import Case, Patch, Suite, Variant
from event_log.port import Assignment, Commit, LogRecord
from event_log.reader import PartitionReader, Verdict
from messaging_client.errors import NotDone, Reason
from messaging_client.kept import Change
from messaging_client.outbox import Outbox
from messaging_client.outgoing import Outgoing, View
from messaging_core.limits import ACCEPT_DEADLINE_S, RETRY_WINDOW_S
from messaging_server.pieces import duration
from tests.simulation import faults
from tests.support.log_records import message_event, origin_record

TICK_S = ACCEPT_DEADLINE_S
LANDS_WITHIN = 2
"""Steps of time from a try to its record in the log, at most."""
ID = "m1"
_WINDOW_S = RETRY_WINDOW_S + 0.001
"""A client's last blind try leaves just before its window is over: by its clock a moment before that step of time."""
_RECORD = origin_record("ann", ["bob"], ID, command_id=ID)
_EVENT = message_event("ann", ID)


Act = Callable[..., str | None]
"""Of a client: takes it, the time in seconds, and more; returns what its caller is told, if it is told at once."""


class Steady(Random):
    """Spreads nothing."""

    def uniform(self, a: float, b: float) -> float:
        """The least."""
        return a


@dataclass(slots=True)
class Client:
    """The part of a client that has to do with one message."""

    outbox: Outbox
    journal: list[Change]
    """What the outbox writes for a store; there is none."""
    view: View
    """Its stream."""
    in_flight: Outgoing | None = None
    """Sent on this stream, and not answered."""


class Stream(NamedTuple):
    """The client's stream, as its server knows it."""

    end: int | None = None
    """The log's end, once it was read."""
    is_resumed: bool = False


class Try(NamedTuple):
    """One on its way to the log."""

    lands_by: int
    is_answered: bool
    """Whether the stream that it came by is still there."""


class State(NamedTuple):
    """Of everything."""

    now: int
    log: tuple[int, ...]
    """When each of its records was appended."""
    tries: tuple[Try, ...]
    client: int
    """On the shelf."""
    stream: Stream
    streams: int
    """So many may be opened yet."""
    refusals: int
    """So many there may be yet."""
    told: str | None = None
    """What the caller was told: from then on only what is on its way matters."""


class Retries(Model[State]):
    """The model, until `horizon` and with so many streams and refusals."""

    def __init__(
        self,
        *,
        horizon: int,
        streams: int,
        refusals: int,
        lands_within: int = LANDS_WITHIN,
        is_polite: bool = True,
        jumps_at: int | None = None,
    ) -> None:
        """`is_polite`: whether the client keeps its window; `jumps_at`: when the log's clock jumps ahead by W and more."""
        self._is_polite = is_polite
        self._window_s = _WINDOW_S if is_polite else 1e6
        self._horizon = horizon
        self._streams = streams
        self._refusals = refusals
        self._lands_within = lands_within
        self._jumps_at = jumps_at
        self._clients: Shelf[Client] = Shelf()
        self._effective = cache(self._read)

    def initial(self) -> State:
        """A client that has just opened a stream, with one message to send."""
        journal: list[Change] = []
        outbox = Outbox(10, 10_000, journal, Steady(0), in_order=True)
        command = messaging.Command(
            send_message=messaging.SendMessage(message_id=ID, content=_EVENT.message.content)
        )
        outbox.add(Outgoing(ID, "lane", command), posted=False)
        client = self._clients.put(Client(outbox, journal, _view(0, 0.0, self._window_s)))
        return self._open(State(0, (), (), client, Stream(), self._streams, self._refusals))

    def is_done(self, state: State) -> bool:
        """Its caller knows, or the model's time is over."""
        return state.told is not None or state.now == self._horizon

    def check(self, state: State) -> None:
        """I1 and I5."""
        effective = self._effective(state.log)
        if not self._is_polite:
            return
        if effective > 1:
            raise Violation("I5", f"effective {effective} times, appended at {state.log}")
        if state.told == "accepted" and effective != 1:
            raise Violation("I5", "accepted, and not in the log")
        if state.told == "not done" and effective:
            raise Violation("I5", "its caller was told that it is not done")

    def steps(self, state: State) -> Iterator[Step[State]]:
        """What time, the log, servers, streams and the caller may do."""
        if state.now < self._horizon and all(each.lands_by > state.now for each in state.tries):
            later = state._replace(now=state.now + 1)
            yield Step(f"it is {later.now} D", later if state.told else self._act(later, _on_time))
        for index, each in enumerate(state.tries):
            tries = state.tries[:index] + state.tries[index + 1 :]
            yield from self._settles(state._replace(tries=tries), each)
        if state.told is not None:
            return
        if state.streams:
            yield Step("a new stream is opened", self._open(state))
        stream = state.stream
        if stream.end is None:
            end = stream._replace(end=len(state.log))
            yield Step(f"the log's end is read: {end.end}", state._replace(stream=end))
        elif not stream.is_resumed:
            resumed = state._replace(stream=stream._replace(is_resumed=True))
            yield Step("resumed", self._act(resumed, _resumed, self._was_shown(state)))
        if self._effective(state.log):
            yield Step("its event is shown", self._act(state, _shown))
        yield Step("its caller gives up", self._act(state, _given_up), is_fault=True)

    def _settles(self, state: State, each: Try) -> Iterator[Step[State]]:
        landed = state._replace(log=(*state.log, state.now))
        yield Step("a try lands, nobody says so", landed)
        yield Step("a try gets lost", state)
        if not each.is_answered or state.told is not None:
            return
        yield Step("a try lands, accepted", self._act(landed, _accepted))
        if state.refusals:
            fewer = state._replace(refusals=state.refusals - 1)
            on_its_way = tuple(sorted((*state.tries, each._replace(is_answered=False))))
            unknown = self._act(fewer._replace(tries=on_its_way), _rejected, True, True)
            yield Step("a try is said to be unknown", unknown, True)
            yield Step("a try is refused for now", self._act(fewer, _rejected, False, True), True)
            yield Step("a try is refused for good", self._act(fewer, _rejected, False, False), True)

    def _open(self, state: State) -> State:
        tries = tuple(sorted(each._replace(is_answered=False) for each in state.tries))
        number = self._streams - state.streams + 1
        return self._act(
            state._replace(stream=Stream(), streams=state.streams - 1, tries=tries),
            _opened,
            number,
            self._window_s,
        )

    def _act(self, state: State, act: Act, *args: object) -> State:
        """The client does something, and then sends what may be sent."""
        client, (sent, told) = self._clients.do(state.client, _then_send, act, state.now * TICK_S, *args)
        if told is not None:
            return State(state.now, state.log, state.tries, -1, Stream(), 0, 0, told)
        if not sent:
            return state._replace(client=client)
        tries = tuple(sorted((*state.tries, Try(state.now + self._lands_within, True))))
        return state._replace(client=client, tries=tries)

    def _was_shown(self, state: State) -> bool:
        """Whether the client has been shown its message by the time of `resumed` (R11)."""
        return self._effective(state.log[: state.stream.end]) > 0

    def _read(self, appended_at: tuple[int, ...]) -> int:
        """How many of these records are effective, for every reader the same."""
        records = [LogRecord(at, self._stamp_us(now), _RECORD) for at, now in enumerate(appended_at)]
        whole = self._from(None, records)
        for commit in self._commits(None, records):
            for again in (commit, *self._commits(commit, records)):
                if (taken := self._from(again, records)) != [at for at in whole if at >= again.offset]:
                    raise Violation("I1", f"from {again.offset} on a reader takes {taken}, not of {whole}")
        return len(whole)

    def _stamp_us(self, now: int) -> int:
        jumped = self._jumps_at is not None and now >= self._jumps_at
        return int((1_000 + now + 10 * jumped) * TICK_S * 1_000_000)

    def _commits(self, start: Commit | None, records: list[LogRecord]) -> list[Commit]:
        """All that a reader may make which starts there, when it has come just so far and later."""
        first = _reader(start, records).acts_from + 1
        return [
            _reads(_reader(start, records[:end]), records[:end]).commit_at(offset)
            for end in range(first, len(records) + 1)
            for offset in range(first, end + 1)
        ]

    def _from(self, commit: Commit | None, records: list[LogRecord]) -> list[int]:
        reader = _reader(commit, records)
        readings = [reader.read(record) for record in records[reader.tail_start :]]
        return [r.offset for r in readings if r.verdict is Verdict.EFFECTIVE and r.offset >= reader.acts_from]


def _reader(commit: Commit | None, records: list[LogRecord]) -> PartitionReader:
    return PartitionReader(0, "log", 1, Assignment(0, 1, commit, 0, len(records)))


def _reads(reader: PartitionReader, records: list[LogRecord]) -> PartitionReader:
    for record in records[reader.tail_start :]:
        reader.read(record)
    return reader


def _then_send(client: Client, act: Act, now_s: float, *args: object) -> tuple[bool, str | None]:
    """Let it act, and take in what came of that. Whether it has sent its message then, and what its caller was told."""
    told = act(client, now_s, *args)
    client.outbox.on_time(now_s)
    client.journal.clear()
    taken = client.outbox.take(client.view, 1, now_s, 0)
    if taken:
        client.in_flight = taken[0]
    for _, error in client.outbox.settled:
        told = "accepted" if error is None else _outcome(error)
    return bool(taken), told


def _outcome(error: Exception) -> str:
    return "not done" if isinstance(error, NotDone) else "unknown"


def _view(number: int, opened_s: float, window_s: float) -> View:
    return View(number, opened_s, messaging.Limits(retry_window=duration(window_s)))


def _on_time(client: Client, now_s: float) -> None:
    pass


def _opened(client: Client, now_s: float, number: int, window_s: float) -> None:
    if client.in_flight is not None:
        client.outbox.broken([client.in_flight])
        client.in_flight = None
    client.view = _view(number, now_s, window_s)


def _resumed(client: Client, now_s: float, shown: bool) -> None:
    if shown:
        _shown(client, now_s)
    client.view.resumed = True
    client.outbox.resumed(client.view, now_s)


def _shown(client: Client, now_s: float) -> None:
    client.outbox.seen(_EVENT, "ann")


def _accepted(client: Client, now_s: float) -> None:
    assert client.in_flight is not None
    client.outbox.accepted(client.in_flight)
    client.in_flight = None


def _rejected(client: Client, now_s: float, unknown: bool, may_again: bool) -> None:
    assert client.in_flight is not None
    refusal = NotDone(Reason.OTHER, "", retry_after_s=0.0 if may_again else None, message_id=ID)
    client.outbox.rejected(client.in_flight, refusal, unknown=unknown, now_s=now_s)
    client.in_flight = None


def _given_up(client: Client, now_s: float) -> str:
    error = client.outbox.withdraw(ID)
    assert error is not None
    return _outcome(error)


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
_REFUSED_TWICE = Case("3 D, 2 streams, 2 refusals", lambda: Retries(horizon=3, streams=2, refusals=2), _N)


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
