"""I12, and the order of what one client sends to one place.

A message's time is above that of everything that its client had been told, or had had accepted, when it began to send it;
and what a client sends to one place one after the other stands in that order, on the screen and in the events of its user.
"""

from collections.abc import Iterator, Sequence

from check.faults.ledger import MESSAGE, Event, Line
from check.faults.run import Run, Violation


def check(run: Run) -> Iterator[Violation]:
    """All violations."""
    for client, lines in run.clients.items():
        user = run.user_of(client)
        taken = {
            each.event.ref.id: (index, each.event)
            for index, each in enumerate(run.reference[user])
            if each.event.kind == MESSAGE and each.event.ref.sender == user
        }
        yield from _times(client, lines, {id_: event for id_, (_, event) in taken.items()})
        yield from _places(client, lines, {id_: index for id_, (index, _) in taken.items()})


def _times(client: str, lines: Sequence[Line], own: dict[str, Event]) -> Iterator[Violation]:
    highest_us, shown = 0, None
    for line in lines:
        if line.kind == "event":
            event = Event.from_json(line.data)
            at_us = 0 if event.is_mark else event.at_us or event.ref.sent_at_us
        elif line.kind == "outcome" and line.data["is"] == "accepted" and line.data["id"] in own:
            at_us = own[line.data["id"]].ref.sent_at_us
        elif line.kind == "send" and (message := own.get(line.data["id"])):
            if message.ref.sent_at_us <= highest_us:
                what = f"{client} was told of {highest_us} before it sent {line.data['id']}, at {message.ref.sent_at_us}"
                yield Violation("I12", what, [shown, line] if shown else [line])
            continue
        else:
            continue
        if at_us > highest_us:
            highest_us, shown = at_us, line


def _places(client: str, lines: Sequence[Line], indices: dict[str, int]) -> Iterator[Violation]:
    accepted = {line.data["id"] for line in lines if line.kind == "outcome" and line.data["is"] == "accepted"}
    last: dict[str, Line] = {}
    for line in lines:
        if line.kind == "send" and line.data["id"] in accepted and line.data["id"] in indices:
            before = last.get(line.data["place"])
            if before is not None and indices[before.data["id"]] > indices[line.data["id"]]:
                what = f"{client} sent {before.data['id']} before {line.data['id']}, but they stand the other way round"
                yield Violation("order", what, [before, line])
            last[line.data["place"]] = line
