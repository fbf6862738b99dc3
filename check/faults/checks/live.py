"""I10: streams that are live are told soon; and when all faults are over, every client is told of what happens."""

from collections.abc import Iterator, Sequence

from check.faults.ledger import Line
from check.faults.plan import FENCE
from check.faults.run import Run, Violation, is_message


def check(run: Run) -> Iterator[Violation]:
    """All violations."""
    yield from _after_all_faults(run)
    for client, lines in run.clients.items():
        yield from _told_soon(run, client, _live(lines))


def _after_all_faults(run: Run) -> Iterator[Violation]:
    fences = {id_ for id_, command in run.sends.items() if id_.endswith(FENCE) and command.is_accepted}
    if len(fences) < len(run.clients):
        late = sorted(set(run.clients) - {run.sends[id_].client for id_ in fences})
        yield Violation("I10", f"after all faults {', '.join(late)} could not send")
    for client, events in run.told.items():
        told_ids = {each.event.ref.id for each in events if is_message(each)}
        if missing := sorted(fences - told_ids):
            yield Violation("I10", f"after all faults {client} was not told {', '.join(missing)}")


def _live(lines: Sequence[Line]) -> list[tuple[float, float]]:
    """When the client had a live stream and took what came: (begin, end), rising."""
    spans: list[tuple[float, float]] = []
    has_stream, stalls, since_t = False, False, 0.0
    for line in lines:
        was_live = has_stream and not stalls
        if line.kind in ("live", "lost", "left", "opened"):
            has_stream = line.kind == "live"
        elif line.kind in ("stalled", "went_on"):
            stalls = line.kind == "stalled"
        is_live = has_stream and not stalls
        if is_live and not was_live:
            since_t = line.t
        elif was_live and not is_live:
            spans.append((since_t, line.t))
    return [*spans, (since_t, float("inf"))] if has_stream and not stalls else spans


def _told_soon(run: Run, client: str, live: Sequence[tuple[float, float]]) -> Iterator[Violation]:
    """What was accepted while a stream was live is told on it within some seconds in which there is no fault."""
    for each in filter(is_message, run.told[client]):
        command = run.sends.get(each.event.ref.id)
        if command is None or command.outcome is None or not command.is_accepted:
            continue
        accepted_t, told_t = command.outcome.t, each.line.t
        if told_t - accepted_t > run.plan.patience_s and any(
            begin <= accepted_t and told_t <= end for begin, end in live
        ):
            quiet_s = run.quiet_s(accepted_t, told_t)
            if quiet_s > run.plan.patience_s:
                what = f"{client} was told {command.id} after {told_t - accepted_t:.1f} s, {quiet_s:.1f} of them quiet"
                yield Violation("I10", what, [command.outcome, each.line])
