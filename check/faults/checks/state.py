"""I11: reactions and marks are the fold of what happened, at every client and in history; marks never fall."""

from collections.abc import Iterable, Iterator

from check.faults.ledger import REACTION, READ, UNKNOWN, Event, Ref
from check.faults.run import Conversation, Run, Violation, conversations

Reactions = dict[tuple[Ref, str, str], bool]
Marks = dict[tuple[str, str], Ref]


def check(run: Run) -> Iterator[Violation]:
    """All violations."""
    for user in run.history:
        yield from _reactions(run, user)
        yield from _marks_of_others(run, user)
        yield from _own_marks(run, user)
        yield from _marks_never_fall(run, user)


def _fold(events: Iterable[Event]) -> Reactions:
    return {(e.ref, e.user, e.text): not e.removed for e in events if e.kind == REACTION}


def _highest(events: Iterable[Event]) -> Marks:
    highest: Marks = {}
    for event in events:
        if event.kind == READ:
            at = event.ref.conversation, event.user
            highest[at] = max(highest.get(at, event.ref), event.ref, key=lambda ref: ref.order)
    return highest


def _clients(run: Run, user: str) -> Iterator[tuple[str, list[Event]]]:
    """Clients of a user that were told everything."""
    for client, lines in run.clients.items():
        if run.user_of(client) == user and not any(line.kind == "gap" for line in lines):
            yield client, [each.event for each in run.told[client]]


def _reactions(run: Run, user: str) -> Iterator[Violation]:
    state = _fold(each.event for each in run.reference[user])
    for client, events in _clients(run, user):
        theirs = _fold(events)
        for at in state.keys() | theirs.keys():
            if state.get(at) != theirs.get(at):
                what = f"{client} ends with another reaction {_name(at)} than history's events"
                yield Violation("I11", what)
    for listed in run.shown[user].values():
        for shown in listed:
            expected = {
                (key, who) for (ref, who, key), there in state.items() if ref == shown.event.ref and there
            }
            if expected != shown.reactions:
                what = f"history shows {sorted(shown.reactions)} at {shown.event.ref.id}, events give {sorted(expected)}"
                yield Violation("I11", what, [shown.line])


def _name(at: tuple[Ref, str, str]) -> str:
    return f"{at[2]} of {at[1]} to {at[0].id}"


def _marks_of_others(run: Run, user: str) -> Iterator[Violation]:
    """The highest mark told is the one that history has, for history's own events and at every client."""
    stored = _stored(run, user)
    tellings = [
        (f"history of {user}", [each.event for each in run.reference[user]]),
        *_clients(run, user),
    ]
    for owner, events in tellings:
        highest = _highest(events)
        for at in highest.keys() | stored.keys():
            if highest.get(at) != stored.get(at):
                what = f"{owner} has {at[1]}'s read mark at {_id(highest.get(at))}, history has {_id(stored.get(at))}"
                yield Violation("I11", what)


def _stored(run: Run, user: str) -> Marks:
    return {
        (each.id, who): ref
        for each in conversations(run.history[user])
        for who, ref in _all_marks(each, user).items()
        if ref is not None
    }


def _all_marks(conversation: Conversation, user: str) -> dict[str, Ref | None]:
    return {user: conversation.read, **conversation.peers}


def _own_marks(run: Run, user: str) -> Iterator[Violation]:
    """What was accepted counts, and nothing that nobody asked for."""
    stored = {each.id: each for each in conversations(run.history[user])}
    least: dict[str, Ref] = {}
    asked: dict[str, set[Ref]] = {}
    for command in run.commands:
        if command.line.kind == "read" and command.user == user:
            at = command.ref.conversation
            if command.is_accepted:
                least[at] = max(least.get(at, command.ref), command.ref, key=lambda ref: ref.order)
            if command.is_accepted or command.result == UNKNOWN:
                asked.setdefault(at, set()).add(command.ref)
    for at, ref in least.items():
        read = stored[at].read if at in stored else None
        if read is None or read.order < ref.order:
            yield Violation("I11", f"{user}'s read mark at {ref.id} was accepted, history has {_id(read)}")
    for at, each in stored.items():
        if each.read is not None and each.read not in asked.get(at, ()):
            yield Violation("I11", f"nobody asked for {user}'s read mark at {each.read.id}", [each.line])


def _marks_never_fall(run: Run, user: str) -> Iterator[Violation]:
    last: dict[tuple[str, str], tuple[Ref, Conversation]] = {}
    for each in conversations([*run.followers[user], *run.history[user]]):
        for who, ref in _all_marks(each, user).items():
            before = last.get((each.id, who))
            if before is not None and (ref is None or ref.order < before[0].order):
                what = f"{who}'s read mark fell for {user}: {before[0].id} to {_id(ref)}"
                yield Violation("I11", what, [before[1].line, each.line])
            if ref is not None:
                last[each.id, who] = ref, each


def _id(ref: Ref | None) -> str:
    return ref.id if ref else "none"
