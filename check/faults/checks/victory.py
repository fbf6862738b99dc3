"""Whether the run shows anything: traffic flowed, faults hit it, and the cell did not get away by refusing or by gaps."""

from collections import Counter
from collections.abc import Iterator

from check.faults.ledger import Line
from check.faults.plan import BAD
from check.faults.run import Command, Injected, Run, Violation

LEAST_ACCEPTED = 0.99
"""Of the sends that began outside of faults."""
HITS = 5
"""Of each kind of fault, in a run that is long enough."""
LONG_RUN_S = 1_500.0
_AROUND_S = 10.0


def check(run: Run) -> Iterator[Violation]:
    """All that makes a victory empty."""
    yield from _gaps(run)
    yield from _accepted(run)
    yield from _hits(run)


def _gaps(run: Run) -> Iterator[Violation]:
    """No fault here keeps history away for longer than the log bridges, so no client may be told of a gap."""
    for owner, lines in [*run.clients.items(), *run.followers.items(), *run.history.items()]:
        for line in lines:
            if line.kind == "gap":
                yield Violation("gap", f"{owner} was told of a gap", [line])


def is_meant_to_be_refused(command: Command) -> bool:
    """Whether no cell may take it."""
    return command.id.endswith(BAD)


def outside_faults(run: Run, line: Line) -> bool:
    """Whether it was written while all was well."""
    return not any(begin <= line.t <= end for begin, end in run.disturbed)


def accepted_outside_faults(run: Run) -> tuple[int, int]:
    """(accepted, all) of the sends that began while all was well."""
    sends = [
        command
        for command in run.sends.values()
        if not is_meant_to_be_refused(command) and outside_faults(run, command.line)
    ]
    return sum(command.is_accepted for command in sends), len(sends)


def hits(run: Run) -> Counter[str]:
    """How often each kind was made while traffic flowed: before it sends were accepted, after it events were told."""
    accepted = sorted(c.outcome.t for c in run.sends.values() if c.outcome and c.is_accepted)
    told = sorted(line.t for lines in run.clients.values() for line in lines if line.kind == "event")

    def flowed(fault: Injected) -> bool:
        before = any(fault.begin_t - _AROUND_S <= t <= fault.begin_t for t in accepted)
        return before and any(fault.mended_t <= t for t in told[-1:])

    return Counter(fault.kind for fault in run.injected if flowed(fault))


def _accepted(run: Run) -> Iterator[Violation]:
    accepted, count = accepted_outside_faults(run)
    if not count:
        yield Violation("empty", "no message was sent while all was well")
    elif accepted < LEAST_ACCEPTED * count:
        lost = [
            command.line
            for command in run.sends.values()
            if not command.is_accepted
            and not is_meant_to_be_refused(command)
            and outside_faults(run, command.line)
        ]
        what = f"of {count} messages sent while all was well only {accepted} were accepted"
        yield Violation("empty", what, lost[:5])
    taken = [c for c in run.sends.values() if is_meant_to_be_refused(c) and c.is_accepted]
    for command in taken:
        yield Violation("empty", f"message {command.id} names nobody, but was accepted", command.lines)


def _hits(run: Run) -> Iterator[Violation]:
    counted = hits(run)
    for fault in run.injected:
        if fault.mended_t == float("inf") or fault.serving_t == float("inf"):
            yield Violation("empty", f"the run was over before fault {fault}")
    for kind in {fault.kind for fault in run.injected}:
        if not counted[kind]:
            yield Violation("empty", f"no traffic flowed around any {kind}")
    lines = [line for lines in run.clients.values() for line in lines]
    lasted_s = max((line.t for line in lines), default=0.0) - min((line.t for line in lines), default=0.0)
    if lasted_s >= LONG_RUN_S:
        for kind, count in counted.items():
            if count < HITS:
                yield Violation("empty", f"{kind} hit traffic only {count} times")
