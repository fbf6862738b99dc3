"""How long it took until things went on after each fault: from ledgers alone."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import NamedTuple

from check.faults.ledger import Line
from check.faults.run import Injected, Run

_AFTERMATH_S = 5.0
"""For this long after all serves again a fault is still by itself only if no other one begins."""
_PRESENCE = ("left", "stalled", "returned", "went_on")
_LOST_WITHIN_S = 2.0
"""After a fault began, or was mended: a stream that was lost by then was lost to it."""


class Times(NamedTuple):
    """Of one kind of fault: seconds, each list rising."""

    faults: int
    flow_s: Sequence[float]
    """From when it was mended until a client that was there was told of a message sent since; one for each client that
    was told before the next fault began."""
    live_s: Sequence[float]
    """From its beginning until a client that had lost its stream had another one, with all that it had missed."""


def times(run: Run) -> Mapping[str, Times]:
    """By kind, of the faults that happened by themselves."""
    by_kind: dict[str, tuple[list[float], list[float], list[int]]] = {}
    clients = [(lines, [line for line in lines if line.kind in _PRESENCE]) for lines in run.clients.values()]
    for fault in alone(run.injected):
        flow, live, numbers = by_kind.setdefault(fault.kind, ([], [], []))
        next_t = min((other.begin_t for other in run.injected if other.begin_t > fault.begin_t), default=inf)
        flow += [s for lines, presence in clients for s in _flow(run, lines, presence, fault, next_t)]
        live += [s for lines, presence in clients for s in _live(lines, presence, fault)]
        numbers.append(fault.number)
    return {
        kind: Times(len(numbers), sorted(flow), sorted(live))
        for kind, (flow, live, numbers) in by_kind.items()
    }


def alone(faults: Sequence[Injected]) -> Iterator[Injected]:
    """Those that no other one comes near."""
    for fault in faults:
        if all(
            other.begin_t > fault.serving_t + _AFTERMATH_S or other.serving_t < fault.begin_t
            for other in faults
            if other is not fault
        ):
            yield fault


def percentile(values: Sequence[float], part: float) -> float:
    """Of values that rise; 0.5 is the middle one, 1 the last."""
    return values[min(len(values) - 1, int(len(values) * part))] if values else 0.0


def _flow(
    run: Run, lines: Sequence[Line], presence: Sequence[Line], fault: Injected, next_t: float
) -> Iterator[float]:
    if not _is_there(presence, fault.begin_t, fault.mended_t):
        return
    for line in _after(lines, fault.mended_t):
        if line.kind in ("left", "stalled") or line.t >= next_t:
            return
        if line.kind == "event" and line.data["kind"] == "message":
            sent = run.sends.get(line.data["ref"][2])
            if sent is not None and sent.line.t >= fault.mended_t:
                yield line.t - fault.mended_t
                return


def _live(lines: Sequence[Line], presence: Sequence[Line], fault: Injected) -> Iterator[float]:
    if not _is_there(presence, fault.begin_t, fault.begin_t):
        return
    lost = False
    for line in _after(lines, fault.begin_t):
        if line.kind in ("left", "stalled") or (not lost and line.t > fault.mended_t + _LOST_WITHIN_S):
            return
        if line.kind == "lost":
            lost = True
        elif line.kind == "live" and lost:
            yield line.t - fault.begin_t
            return


def _is_there(presence: Sequence[Line], begin_t: float, end_t: float) -> bool:
    """Whether the client neither left nor stood still of its own will, up to here."""
    at = bisect_right(presence, end_t, key=lambda line: line.t)
    last = presence[at - 1] if at else None
    return last is None or (last.kind in ("returned", "went_on") and last.t <= begin_t)


def _after(lines: Sequence[Line], t: float) -> Sequence[Line]:
    return lines[bisect_left(lines, t, key=lambda line: line.t) :]
