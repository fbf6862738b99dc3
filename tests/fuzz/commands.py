"""What a client sends on its stream: commands with hostile values, ids that do not rise, frames of them."""

from typing import Any

from hypothesis import strategies as st

from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.port import Fate
from tests.fuzz.strategies import (
    CURSOR_TEXT,
    EXTRAS,
    GOOD_REFS,
    GOOD_SENDS,
    ID,
    RECIPIENTS,
    REFS,
    SENDS,
    TEXT,
    WIRE,
    a,
    maybe,
)

LAST_ID = 2**64 - 1
HELLOS = a(
    messaging.Hello,
    resume_after=maybe(CURSOR_TEXT),
    client_id=TEXT,
    client_info=TEXT,
    features=st.lists(TEXT, max_size=2) | st.just(["f"] * 40),
)
REFRESH = a(
    messaging.RefreshToken,
    token=st.sampled_from(("ann", "ann:4000000000", "ann:1", "ann:1e308", "bob", "bad")) | st.just(""),
)
MARKED = REFS | GOOD_REFS
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "send_message": SENDS | GOOD_SENDS,
    "acknowledge": a(messaging.Acknowledge, cursor=CURSOR_TEXT),
    "mark_read": a(messaging.MarkRead, through=maybe(MARKED), participants=maybe(RECIPIENTS)),
    "mark_received": a(messaging.MarkReceived, through=maybe(MARKED), participants=maybe(RECIPIENTS)),
    "react": a(
        messaging.React, reaction_id=ID, message=maybe(MARKED), key=TEXT, participants=maybe(RECIPIENTS)
    ),
    "unreact": a(
        messaging.Unreact, reaction_id=ID, message=maybe(MARKED), key=TEXT, participants=maybe(RECIPIENTS)
    ),
    "ping": st.just(messaging.Ping()),
    "refresh_token": REFRESH,
}
_BODIES = st.one_of(
    *(st.tuples(st.just(name), body) for name, body in KINDS.items()),
    st.tuples(st.just("send_message"), GOOD_SENDS),
    st.tuples(st.just("send_message"), GOOD_SENDS),
    st.just(("", None)),
)
IDS = st.sampled_from((1, 1, 1, 1, 1, 2, 0, -1, 2**40, LAST_ID))
"""How far a command's id is above the one before; LAST_ID is that very id."""
COMMANDS = st.builds(lambda body, id_, trace: (body, id_, trace), _BODIES, IDS, st.just("") | TEXT)
Made = tuple[tuple[str, Any], int, str]


class Client:
    """Makes frames of commands, with ids that rise unless they are not to."""

    def __init__(self) -> None:
        self.last_id = 0

    def command(self, made: Made) -> messaging.Command:
        (name, body), step, traceparent = made
        self.last_id = min(LAST_ID, max(0, self.last_id + step)) if step != LAST_ID else LAST_ID
        command = messaging.Command(command_id=self.last_id, traceparent=traceparent)
        if name:
            getattr(command, name).CopyFrom(body)
        return command

    def request(self, made: list[Made]) -> messaging.ConnectRequest:
        return messaging.ConnectRequest(commands=map(self.command, made))

    def frame(self, made: list[Made]) -> bytes:
        return self.request(made).SerializeToString()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commands"), st.lists(COMMANDS, min_size=1, max_size=4)),
        st.tuples(st.just("commands"), st.lists(COMMANDS, min_size=1, max_size=4)),
        st.tuples(st.just("commands"), st.lists(COMMANDS, min_size=1, max_size=4)),
        st.tuples(
            st.just("extended"),
            st.tuples(st.lists(COMMANDS, min_size=1, max_size=2), EXTRAS, st.integers(0, 20)),
        ),
        st.tuples(st.just("wait"), st.sampled_from((0.01, 1.5, 6.0, 35.0))),
        st.tuples(st.just("log"), st.sampled_from(("held", "full", "back"))),
        st.tuples(st.just("fates"), st.lists(st.sampled_from(list(Fate)), min_size=1, max_size=3)),
        st.tuples(st.just("store"), st.booleans()),
        st.tuples(st.just("stall"), st.booleans()),
        st.tuples(
            st.just("raw"),
            st.tuples(
                st.lists(COMMANDS, min_size=1, max_size=3),
                WIRE | st.none() | st.binary(max_size=30),
                st.booleans(),
            ),
        ),
    ),
    max_size=8,
)
OPENINGS = st.one_of(
    st.just(messaging.Hello()),
    st.just(messaging.Hello()),
    st.just(messaging.Hello(live_only=True)),
    HELLOS,
    st.none(),
)
ENDS = st.sampled_from(("live", "live", "live", "half-close", "cancel", "leave"))
