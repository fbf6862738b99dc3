"""I5 and "a refused send never half-exists": each accepted command is there once, as it was first given, for everyone."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from check.faults.ledger import ACCEPTED, REACTION, REFUSED, UNKNOWN, Ref
from check.faults.run import Command, Run, Told, Violation, is_message


def check(run: Run) -> Iterator[Violation]:
    """All violations."""
    there = {user: _by_id(events) for user, events in run.reference.items()}
    shown = {each.event.ref.id for events in run.told.values() for each in filter(is_message, events)}
    for command in run.sends.values():
        yield from _presence(run, command, there, shown)
    for owner, events in _all_tellings(run):
        yield from _told_once(owner, events)
        yield from _as_given(run, owner, events)
    yield from _reactions(run)


def _by_id(events: Iterable[Told]) -> dict[str, list[Told]]:
    found: dict[str, list[Told]] = defaultdict(list)
    for each in events:
        if is_message(each):
            found[each.event.ref.id].append(each)
    return found


def _all_tellings(run: Run) -> Iterator[tuple[str, Sequence[Told]]]:
    for user, events in run.reference.items():
        yield f"history of {user}", events
    yield from run.told.items()


def _presence(
    run: Run, command: Command, there: Mapping[str, dict[str, list[Told]]], shown: set[str]
) -> Iterator[Violation]:
    users = run.users_in(command.place)
    having = [user for user in users if command.id in there[user]]
    if command.result == ACCEPTED and len(having) < len(users):
        missing = sorted(set(users) - set(having))
        what = f"message {command.id} was accepted, but is lost to {', '.join(missing)}"
        yield Violation("I5", what, command.lines)
    elif command.result == REFUSED and (having or command.id in shown):
        found = [each.line for user in having for each in there[user][command.id]]
        yield Violation(
            "refused", f"message {command.id} was refused, but it exists", command.lines + found[:3]
        )
    elif command.result == UNKNOWN and having and len(having) < len(users):
        what = f"message {command.id} half-exists: for {', '.join(having)} of {', '.join(users)}"
        yield Violation("refused", what, command.lines)


def _told_once(owner: str, events: Sequence[Told]) -> Iterator[Violation]:
    first: dict[tuple[str, str], Told] = {}
    for each in filter(is_message, events):
        name = each.event.ref.sender, each.event.ref.id
        if name in first:
            what = f"message {name[1]} was told twice by {owner}"
            yield Violation("I5", what, [first[name].line, each.line])
        first.setdefault(name, each)


def _as_given(run: Run, owner: str, events: Sequence[Told]) -> Iterator[Violation]:
    for each in filter(is_message, events):
        ref, command = each.event.ref, run.sends.get(each.event.ref.id)
        if command is None or command.user != ref.sender:
            yield Violation(
                "I5", f"nobody sent message {ref.id} by {ref.sender}, told by {owner}", [each.line]
            )
        elif each.event.text != command.line.data["text"] or each.event.reply_to != command.reply_to:
            what = f"message {ref.id} is not as it was sent, at {owner}"
            yield Violation("I5", what, [command.line, each.line])


Change = tuple[Ref, str, bool]
"""Of a reaction: message, key, and whether it was taken back."""


def _reactions(run: Run) -> Iterator[Violation]:
    """An accepted change of a reaction is one event of its user; one of unknown outcome is one or none."""
    for user, events in run.reference.items():
        changes: Counter[Change] = Counter(
            (each.event.ref, each.event.text, each.event.removed)
            for each in events
            if each.event.kind == REACTION and each.event.user == user
        )
        asked: dict[Change, list[Command]] = defaultdict(list)
        for command in run.commands:
            if command.line.kind == "react" and command.user == user:
                data = command.line.data
                asked[command.ref, str(data["key"]), bool(data["removed"])].append(command)
        for change in changes.keys() | asked.keys():
            commands = asked.get(change, [])
            least = sum(command.result == ACCEPTED for command in commands)
            most = least + sum(command.result == UNKNOWN for command in commands)
            if not least <= changes[change] <= most:
                ref, key, removed = change
                what = (
                    f"{user}'s reaction {key} to {ref.id}, removed: {removed}, was told {changes[change]} times; "
                    f"accepted {least}, possible {most}"
                )
                yield Violation("I5", what, [line for command in commands for line in command.lines])
