"""What a run has shown: for people, and as JSON."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from check.faults.checks.victory import accepted_outside_faults, hits
from check.faults.ledger import UNKNOWN
from check.faults.memory import growth
from check.faults.plan import SDK
from check.faults.recovery import percentile, times
from check.faults.run import Run, Violation

_MOST_SHOWN = 40


def as_json(run: Run, violations: Sequence[Violation], about: dict[str, Any]) -> dict[str, Any]:
    """Everything that the report says."""
    accepted, outside = accepted_outside_faults(run)
    counted = hits(run)
    by_kind = {
        kind: {
            "alone": found.faults,
            "flow_p50_s": round(percentile(found.flow_s, 0.5), 2),
            "flow_worst_s": round(percentile(found.flow_s, 1), 2),
            "live_p50_s": round(percentile(found.live_s, 0.5), 2),
            "live_p99_s": round(percentile(found.live_s, 0.99), 2),
            "live_worst_s": round(percentile(found.live_s, 1), 2),
            "streams_lost": len(found.live_s),
        }
        for kind, found in times(run).items()
    }
    commands = Counter(f"{c.line.kind} {c.result}" for c in run.commands)
    sdk = {client.name for client in run.plan.clients if client.software == SDK}
    return {
        **about,
        "seed": run.plan.seed,
        "passed": not violations and "failed" not in about,
        "faults": len(run.injected),
        "hits": dict(counted),
        "commands": dict(sorted(commands.items())),
        "tried_more_than_once": sum(
            c.outcome is not None and c.outcome.data["tries"] > 1 for c in run.sends.values()
        ),
        "sends_outside_faults": outside,
        "accepted_outside_faults": accepted,
        "sdk_sends_without_outcome_in_30_s": sum(
            c.result == UNKNOWN and c.client in sdk for c in run.sends.values()
        ),
        "events_told": sum(line.kind == "event" for lines in run.clients.values() for line in lines),
        "streams_lost": sum(line.kind == "lost" for lines in run.clients.values() for line in lines),
        "ended_by_themselves": [dict(line.data) for line in run.faults if line.kind == "ended"],
        "recovery": by_kind,
        "memory": [found._asdict() for found in growth(run.faults)],
        "violations": [
            {
                "invariant": found.invariant,
                "what": found.what,
                "after": after(run, found),
                "lines": [line.place for line in found.lines],
            }
            for found in violations
        ],
    }


def after(run: Run, violation: Violation) -> str:
    """The fault that had begun last before it showed."""
    if not violation.lines:
        return ""
    return str(run.last_fault_before(violation.lines[-1].t) or "no fault")


def for_people(run: Run, violations: Sequence[Violation], about: dict[str, Any]) -> Iterator[str]:
    """Lines."""
    data = as_json(run, violations, about)
    yield f"seed {data['seed']}: {data['faults']} faults, {data['streams_lost']} streams lost"
    yield f"  {'events told':18} {data['events_told']:7}"
    for what, count in data["commands"].items():
        yield f"  {what:18} {count:7}"
    yield f"tried more than once, of the plain clients' sends: {data['tried_more_than_once']}"
    share = data["accepted_outside_faults"] / max(1, data["sends_outside_faults"])
    yield f"accepted of what was sent while all was well: {share:.2%} of {data['sends_outside_faults']}"
    yield f"SDK sends without an outcome in 30 s: {data['sdk_sends_without_outcome_in_30_s']}"
    yield "                              until events flow after   until streams lost are live, from its beginning"
    yield "kind                 hit alone     p50    worst          p50      p99    worst   streams"
    for kind, count in sorted(data["hits"].items()):
        found = data["recovery"].get(kind)
        yield f"{kind:20} {count:3}" + (
            f" {found['alone']:5} {found['flow_p50_s']:7.2f} {found['flow_worst_s']:8.2f}"
            f"     {found['live_p50_s']:8.2f} {found['live_p99_s']:8.2f} {found['live_worst_s']:8.2f}"
            f" {found['streams_lost']:9}"
            if found
            else "     0"
        )
    for found in data["memory"]:
        yield (
            f"memory of {found['name']} in {found['lasted_s'] / 60:.0f} minutes: {found['rss_kb'] / 1024:.0f} MiB, "
            f"{found['percent_an_hour']:+.2f} % an hour over the later three quarters"
        )
    for ended in data["ended_by_themselves"]:
        yield f"ended by itself: {ended['name']}: {ended['why'].strip().splitlines()[-1:]}"
    if "failed" in about:
        yield f"NOT JUDGED, for the run did not come to its end: {about['failed']}"
    else:
        yield from _violations(run, violations)


def _violations(run: Run, violations: Sequence[Violation]) -> Iterator[str]:
    if not violations:
        yield "no violation"
        return
    yield f"{len(violations)} VIOLATIONS"
    for found in violations[:_MOST_SHOWN]:
        yield f"  {found.invariant}: {found.what}"
        if found.lines:
            yield f"      after {after(run, found)}; lines {', '.join(line.place for line in found.lines)}"
    if len(violations) > _MOST_SHOWN:
        yield f"  and {len(violations) - _MOST_SHOWN} more"
