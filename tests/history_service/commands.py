"""Random commands for property tests, and what everyone must see after them: the fold of the log."""

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.reader import Verdict
from history_service.port import MessageKey
from history_service.rows import message_key
from tests.history_service.written import WrittenLog

USERS = ("ann", "bob", "cid", "dan", "eve", "fay")
CONVERSATIONS = (("ann", "bob"), ("ann",), ("bob", "cid", "dan"), ("ann", "bob", "cid", "dan", "eve"), USERS)
"""Some with few participants, some with more than SHARED_ABOVE."""


class Command(NamedTuple):
    """One thing that one user does."""

    what: str
    conversation: int
    user: int
    """Index into the conversation's participants, modulo their number."""
    message: int
    """Index into the messages so far, modulo their number."""
    time: int
    key: str


commands = st.lists(
    st.builds(
        Command,
        st.sampled_from(("message", "message", "react", "unreact", "read", "received", "poison")),
        st.sampled_from((0, 0, 0, 2, 3, 3, 1, 4)),
        st.integers(0, 2),
        st.integers(0, 1),
        st.integers(1, 4),
        st.sampled_from("+♥"),
    ),
    min_size=10,
    max_size=40,
)
"""Few users and messages, so that many commands are about the same thing."""
chances = st.builds(random.Random, st.integers(0, 2**32))
"""For what a test itself leaves to chance."""


def written(script: Sequence[Command]) -> WrittenLog:
    """The log after these commands."""
    made = WrittenLog()
    refs: dict[int, list[messaging.MessageRef]] = defaultdict(list)
    for number, command in enumerate(script):
        users = CONVERSATIONS[command.conversation]
        user = users[command.user % len(users)]
        so_far = refs[command.conversation]
        if command.what == "poison":
            made.poison(command.user % made.partition_count)
        elif command.what == "message" or not so_far:
            so_far.append(made.message(user, users, f"m{number}", command.time))
        else:
            ref = so_far[command.message % len(so_far)]
            if command.what in ("react", "unreact"):
                made.reaction(user, users, ref, command.key, command.what == "unreact", f"r{number}")
            elif command.what == "read":
                made.read_mark(user, users, ref)
            elif len(users) == 2:
                made.received_mark(user, users, ref)
    return made


class Seen(NamedTuple):
    """A user's effective records, in order."""

    offset: int
    kind: log.EventKind
    event: messaging.Event


def events_of(made: WrittenLog, user: str) -> list[Seen]:
    """What is told to a user, from the log alone."""
    return [
        Seen(reading.offset, reading.logged.kind, reading.event)
        for reading in made.readings(made.partition_of(user))
        if reading.verdict is Verdict.EFFECTIVE and user in reading.recipients
    ]


def gaps_of(made: WrittenLog, user: str) -> list[int]:
    """Offsets of unreadable records of the user's partition."""
    readings = made.readings(made.partition_of(user))
    return [reading.offset for reading in readings if reading.verdict is Verdict.UNREADABLE]


def reactions_of(made: WrittenLog) -> dict[MessageKey, dict[str, set[str]]]:
    """Message -> key -> users, in force. Each user's reactions are folded in the order of the user's partition."""
    state: dict[MessageKey, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for user in USERS:
        for seen in events_of(made, user):
            changed = seen.event.reaction_changed
            if seen.kind == log.EVENT_KIND_REACTION_CHANGED and changed.user_id == user:
                users = state[message_key(changed.message)][changed.key]
                (users.discard if changed.removed else users.add)(user)
    return state


def marks_of(made: WrittenLog, user: str) -> dict[tuple[str, str, int], MessageKey]:
    """(conversation, marker, kind) -> the highest mark the user was told."""
    state: dict[tuple[str, str, int], MessageKey] = {}
    for seen in events_of(made, user):
        if seen.kind in (log.EVENT_KIND_READ_MARK, log.EVENT_KIND_RECEIVED_MARK):
            mark = seen.event.read_mark if seen.event.HasField("read_mark") else seen.event.received_mark
            name = (mark.through.conversation_id, mark.user_id, int(seen.kind))
            state[name] = max(state.get(name, MessageKey(0, "", "")), message_key(mark.through))
    return state


def is_mark(seen: Seen) -> bool:
    """Whether it is state that a later one may stand for."""
    return seen.kind in (log.EVENT_KIND_READ_MARK, log.EVENT_KIND_RECEIVED_MARK)
