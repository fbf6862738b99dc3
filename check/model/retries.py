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

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from check.model import retries_client as client
from check.model.explore import Model, Step, Violation
from check.model.real import Shelf
from event_log.port import Assignment, Commit, LogRecord
from event_log.reader import PartitionReader, Verdict
from messaging_core.limits import ACCEPT_DEADLINE_S, RETRY_WINDOW_S
from tests.support.log_records import origin_record

TICK_S = ACCEPT_DEADLINE_S
LANDS_WITHIN = 2
"""Steps of time from a try to its record in the log, at most."""
_WINDOW_S = RETRY_WINDOW_S + 0.001
"""A client's last blind try leaves just before its window is over: by its clock a moment before that step of time."""
_RECORD = origin_record("ann", ["bob"], client.ID, command_id=client.ID)


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
        self._clients: Shelf[client.Client] = Shelf()
        self._effective = cache(self._read)

    def initial(self) -> State:
        """A client that has just opened a stream, with one message to send."""
        number = self._clients.put(client.new_client(self._window_s))
        return self._open(State(0, (), (), number, Stream(), self._streams, self._refusals))

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
            yield Step(f"it is {later.now} D", later if state.told else self._act(later, client.on_time))
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
            yield Step("resumed", self._act(resumed, client.resumed, self._was_shown(state)))
        if self._effective(state.log):
            yield Step("its event is shown", self._act(state, client.shown))
        yield Step("its caller gives up", self._act(state, client.given_up), is_fault=True)

    def _settles(self, state: State, each: Try) -> Iterator[Step[State]]:
        landed = state._replace(log=(*state.log, state.now))
        yield Step("a try lands, nobody says so", landed)
        yield Step("a try gets lost", state)
        if not each.is_answered or state.told is not None:
            return
        yield Step("a try lands, accepted", self._act(landed, client.accepted))
        if state.refusals:
            fewer = state._replace(refusals=state.refusals - 1)
            on_its_way = tuple(sorted((*state.tries, each._replace(is_answered=False))))
            unknown = self._act(fewer._replace(tries=on_its_way), client.rejected, True, True)
            yield Step("a try is said to be unknown", unknown, True)
            yield Step("a try is refused for now", self._act(fewer, client.rejected, False, True), True)
            yield Step("a try is refused for good", self._act(fewer, client.rejected, False, False), True)

    def _open(self, state: State) -> State:
        tries = tuple(sorted(each._replace(is_answered=False) for each in state.tries))
        number = self._streams - state.streams + 1
        return self._act(
            state._replace(stream=Stream(), streams=state.streams - 1, tries=tries),
            client.opened,
            number,
            self._window_s,
        )

    def _act(self, state: State, act: client.Act, *args: object) -> State:
        """The client does something, and then sends what may be sent."""
        now_s = state.now * TICK_S
        number, (sent, told) = self._clients.do(state.client, client.then_send, act, now_s, *args)
        if told is not None:
            return State(state.now, state.log, state.tries, -1, Stream(), 0, 0, told)
        if not sent:
            return state._replace(client=number)
        tries = tuple(sorted((*state.tries, Try(state.now + self._lands_within, True))))
        return state._replace(client=number, tries=tries)

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
