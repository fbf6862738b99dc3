"""I9: history has every event that anyone was told, and every accepted message, once, in the order of the conversation.

And what a reader was told to be the end of a page was: what it read piece by piece while things went on is the whole.
"""

from collections.abc import Iterator
from itertools import pairwise

from check.faults.ledger import Line
from check.faults.run import Run, Shown, Violation, is_message, told


def check(run: Run) -> Iterator[Violation]:
    """All violations."""
    for user in run.history:
        yield from _whole(run, user)
        yield from _no_cursor_twice(run, user)
        yield from _has_what_was_told(run, user)
        yield from _followed(run, user)
        yield from _conversations(run, user)
    yield from _accepted(run)


def _whole(run: Run, user: str) -> Iterator[Violation]:
    ends = {line.data["what"] for line in run.history[user] if line.kind == "read_to_end"}
    if ends != {"events", "messages"}:
        yield Violation("I9", f"history of {user} could not be read to its end")


def _no_cursor_twice(run: Run, user: str) -> Iterator[Violation]:
    seen: dict[str, Line] = {}
    for each in run.reference[user]:
        if each.event.cursor in seen:
            what = f"history of {user} has cursor {each.event.cursor} twice"
            yield Violation("I9", what, [seen[each.event.cursor], each.line])
        seen[each.event.cursor] = each.line


def _has_what_was_told(run: Run, user: str) -> Iterator[Violation]:
    cursors = {each.event.cursor for each in run.reference[user]}
    for client, events in run.told.items():
        if run.user_of(client) == user:
            for each in events:
                if each.event.cursor not in cursors and not each.event.is_mark:
                    what = f"history of {user} does not have {each.event.name}, which {client} was told"
                    yield Violation("I9", what, [each.line])


def _followed(run: Run, user: str) -> Iterator[Violation]:
    """What a reader that pages on and on has read is all that there is, in the same order."""
    lines = run.followers[user]
    read = [each for each in told(lines) if not each.event.is_mark]
    reference = [each for each in run.reference[user] if not each.event.is_mark]
    if not lines or any(line.kind == "gap" for line in lines):
        return
    for ours, there in zip(read, reference, strict=False):
        if ours.event != there.event:
            what = f"a reader of {user}'s events was told {ours.event.name} where {there.event.name} stands"
            yield Violation("I9", what, [ours.line, there.line])
            return
    if len(read) > len(reference):
        what = f"a reader of {user}'s events was told what is not there any more"
        yield Violation("I9", what, [read[len(reference)].line])


def _conversations(run: Run, user: str) -> Iterator[Violation]:
    """The pages of a conversation have the same messages as the events, in the conversation's order."""
    by_events: dict[str, dict[str, Shown]] = {}
    for each in filter(is_message, run.reference[user]):
        by_events.setdefault(each.event.ref.conversation, {})[each.event.ref.id] = Shown(
            each.event, frozenset(), each.line
        )
    for conversation in by_events.keys() | run.shown[user].keys():
        listed = run.shown[user].get(conversation, [])
        for before, after in pairwise(listed):
            if before.event.ref.order >= after.event.ref.order:
                what = f"a page for {user} has {after.event.ref.id} in a wrong place, or twice"
                yield Violation("I9", what, [before.line, after.line])
        by_pages = {shown.event.ref.id: shown for shown in listed}
        for id_ in by_pages.keys() ^ by_events.get(conversation, {}).keys():
            shown = by_pages.get(id_) or by_events[conversation][id_]
            where = "pages" if id_ in by_pages else "events"
            what = f"message {id_} is only in the {where} of {user}'s history"
            yield Violation("I9", what, [shown.line])
        for id_ in by_pages.keys() & by_events.get(conversation, {}).keys():
            page, event = by_pages[id_], by_events[conversation][id_]
            if (page.event.ref, page.event.text, page.event.reply_to) != (
                event.event.ref,
                event.event.text,
                event.event.reply_to,
            ):
                what = f"message {id_} is another one in the pages of {user}'s history than in its events"
                yield Violation("I9", what, [page.line, event.line])


def _accepted(run: Run) -> Iterator[Violation]:
    pages = {
        user: {shown.event.ref.id for listed in conversations.values() for shown in listed}
        for user, conversations in run.shown.items()
    }
    for command in run.sends.values():
        for user in run.users_in(command.place) if command.is_accepted else ():
            if command.id not in pages[user]:
                what = f"message {command.id} was accepted, but is in no page of {user}'s history"
                yield Violation("I9", what, command.lines)
