"""Times: a message's time is above everything that its sender had been told, whichever servers it uses (I12).

Real code: `messaging_core.clock.HybridClock` of every server. What a server has its clock observe is what
`messaging_server` does: the cursor's time when a stream opens (`session.py`), each event's that it passes on (`router.py`),
the time of the message that is answered (`pipeline.py`).

Modelled: two servers whose clocks differ and are set ahead or back while they run; servers that start again and know
nothing; one user, on one stream at a time, on any server, who is shown events, answers them, or writes without answering;
others who write through any server. The user's client sends nothing on a new stream before `resumed`, if something of it was
accepted that it has not been shown: only the server that accepted it knows its time until then.

Not modelled: differences above `MAX_SKEW_US`, which are not followed; several streams of a user at once; that the SDK waits
for `resumed` for a second only.

- I12: the time of a message is above that of everything shown to its sender, or accepted from it, before.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from check.model.explore import Model, Step, Violation
from check.model.real import Shelf
from messaging_core.clock import MAX_SKEW_US, HybridClock

SET_BY_US = 10
"""How far a clock is set ahead or back."""
assert SET_BY_US < MAX_SKEW_US
NOBODY = -1


@dataclass(slots=True)
class Wall:
    """What a machine takes for the time."""

    now_us: int

    def read(self) -> int:
        """That."""
        return self.now_us


@dataclass(slots=True)
class Server:
    """A server's clock."""

    wall: Wall
    clock: HybridClock


class Message(NamedTuple):
    """In the log."""

    time_us: int
    mine: bool


class State(NamedTuple):
    """Of everything."""

    servers: tuple[int, ...]
    """On the shelf."""
    log: tuple[Message, ...]
    at: int
    """The server that has the user's stream, or NOBODY."""
    shown: int
    """So many messages were shown to the user."""
    is_resumed: bool
    known_us: int
    """The highest time shown to the user or accepted from it."""
    accepted: int
    """The log's first so many hold all that was accepted."""
    left: int


class Times(Model[State]):
    """The model: until the log has so many messages, and with so many faults."""

    stuck = "I12"

    def __init__(self, messages: int, faults: int) -> None:
        self._messages = messages
        self._faults = faults
        self._servers: Shelf[Server] = Shelf()

    def initial(self) -> State:
        """The clocks differ."""
        servers = tuple(self._servers.put(_server(now_us)) for now_us in (100, 100 + SET_BY_US))
        return State(servers, (), NOBODY, 0, False, 0, 0, self._faults)

    def is_done(self, state: State) -> bool:
        """The log is full, and the user has been shown all of it."""
        return len(state.log) == self._messages == state.shown

    def check(self, state: State) -> None:
        """It is noticed where it is done."""

    def steps(self, state: State) -> Iterator[Step[State]]:
        """What servers, the user and others may do."""
        for number in range(len(state.servers)):
            if len(state.log) < self._messages:
                after, time_us = self._does(state, number, _stamps, 0)
                log = (*state.log, Message(time_us, False))
                yield Step(f"another writes through {number}, at {time_us}", after._replace(log=log))
            if state.at == NOBODY:
                yield Step(f"the user comes to {number}", self._opened(state, number))
            if state.left:
                yield from self._faulty(state._replace(left=state.left - 1), number)
        if state.at != NOBODY:
            yield from self._streams(state)

    def _faulty(self, fewer: State, number: int) -> Iterator[Step[State]]:
        for by_us in (-SET_BY_US, SET_BY_US):
            after, _ = self._does(fewer, number, _is_set, by_us)
            yield Step(f"the clock of {number} is set by {by_us}", after, True)
        if fewer.at == number:
            fewer = fewer._replace(at=NOBODY, is_resumed=False)
            yield Step("the stream breaks", fewer, True)
        after, _ = self._does(fewer, number, _starts_again)
        yield Step(f"{number} starts again", after, True)

    def _streams(self, state: State) -> Iterator[Step[State]]:
        if state.shown < len(state.log):
            message = state.log[state.shown]
            after, _ = self._does(state, state.at, _observes, _newest(state.log[: state.shown + 1]))
            known_us = max(state.known_us, message.time_us)
            shown = after._replace(shown=state.shown + 1, known_us=known_us)
            yield Step(f"the user is shown {message.time_us}", shown)
        elif not state.is_resumed:
            yield Step("resumed", state._replace(is_resumed=True))
        if len(state.log) < self._messages and self._may_send(state):
            for answered in {0, *(message.time_us for message in state.log[: state.shown])}:
                yield from self._sends(state, answered)

    def _may_send(self, state: State) -> bool:
        return state.is_resumed or state.accepted <= state.shown

    def _sends(self, state: State, answered_us: int) -> Iterator[Step[State]]:
        after, time_us = self._does(state, state.at, _stamps, answered_us)
        if time_us <= state.known_us:
            raise Violation("I12", f"{state.known_us} was known, and the message is of {time_us}")
        log = (*state.log, Message(time_us, True))
        what = f"the user writes at {time_us}" + (f", answering {answered_us}" if answered_us else "")
        yield Step(f"{what}, and is not told", after._replace(log=log))
        yield Step(f"{what}: accepted", after._replace(log=log, accepted=len(log), known_us=time_us))

    def _opened(self, state: State, number: int) -> State:
        """With a cursor, which carries a time."""
        after, _ = self._does(state, number, _observes, _newest(state.log[: state.shown]))
        return after._replace(at=number)

    def _does(self, state: State, number: int, act: Callable[..., int], *args: int) -> tuple[State, int]:
        after, time_us = self._servers.do(state.servers[number], act, *args)
        servers = (*state.servers[:number], after, *state.servers[number + 1 :])
        return state._replace(servers=servers), time_us


def _newest(log: tuple[Message, ...]) -> int:
    """What a cursor carries: the newest time at or before it."""
    return max((message.time_us for message in log), default=0)


def _server(now_us: int) -> Server:
    wall = Wall(now_us)
    return Server(wall, HybridClock(wall.read))


def _observes(server: Server, time_us: int) -> int:
    server.clock.observe(time_us)
    return 0


def _stamps(server: Server, answered_us: int) -> int:
    server.clock.observe(answered_us)
    return server.clock.stamp()


def _is_set(server: Server, by_us: int) -> int:
    server.wall.now_us += by_us
    return 0


def _starts_again(server: Server) -> int:
    server.clock = HybridClock(server.wall.read)
    return 0
