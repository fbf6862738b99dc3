"""I10: when all faults are over, every client is told of what happens."""

from collections.abc import Iterator

from check.faults.plan import FENCE
from check.faults.run import Run, Violation, is_message


def check(run: Run) -> Iterator[Violation]:
    """All violations."""
    fences = {id_ for id_, command in run.sends.items() if id_.endswith(FENCE) and command.is_accepted}
    if len(fences) < len(run.clients):
        late = sorted(set(run.clients) - {run.sends[id_].client for id_ in fences})
        yield Violation("I10", f"after all faults {', '.join(late)} could not send")
    for client, events in run.told.items():
        told_ids = {each.event.ref.id for each in events if is_message(each)}
        if missing := sorted(fences - told_ids):
            yield Violation("I10", f"after all faults {client} was not told {', '.join(missing)}")
