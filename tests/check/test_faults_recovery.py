"""How long it took until things went on, read from ledgers."""

from check.faults import plan as plans
from check.faults import report
from check.faults.ledger import Line
from check.faults.recovery import alone, percentile, times
from check.faults.run import Injected, Run

FAULT = [(10.0, "fault"), (12.0, "mended"), (13.0, "serving")]


def line(t: float, line_kind: str, /, **data: object) -> Line:
    return Line("file", 1, t, line_kind, data)


def faults(*whens: list[tuple[float, str]], of: str = "kill") -> list[Line]:
    return [
        line(t, kind, number=number, kind=of, target="cell")
        for number, when in enumerate(whens, 1)
        for t, kind in when
    ]


def send(t: float, id_: str) -> Line:
    return line(t, "send", id=id_, place="everybody", text="", reply_to=None)


def told(t: float, id_: str) -> Line:
    return line(t, "event", cursor="", kind="message", ref=["c", "ann", id_, 1], user="ann")


def run_of(made: list[Line], **clients: list[Line]) -> Run:
    plan = plans.make(1, ["a:1"], {}, 5, 1.0)
    names = [client.name for client in plan.clients]
    return Run(plan, dict(zip(names, clients.values(), strict=False)), {}, {}, made)


def test_events_flow_again_when_something_sent_since_is_told() -> None:
    """From the end of the fault on; what was sent before does not count."""
    lines = [send(11, "old"), send(12.5, "new"), told(12.6, "old"), told(14.0, "new")]
    found = times(run_of(faults(FAULT), one=lines))["kill"]
    assert found.faults == 1
    assert found.flow_s == [2.0]


def test_the_next_fault_is_not_counted_with_the_one_before() -> None:
    """Who was told of nothing before it began says nothing of the one before, whatever the next one did."""
    other = [(30.0, "fault"), (50.0, "mended"), (50.1, "serving")]
    in_time = [send(20, "soon"), told(21, "soon")]
    late = [send(20, "late"), told(51, "late")]
    found = times(run_of(faults(FAULT, other), one=in_time, two=late))["kill"]
    assert found.flow_s == [9.0]


def test_streams_that_were_lost_are_live_again() -> None:
    """From the beginning of the fault on; only where one was lost to it."""
    lost = [line(9, "live"), line(10.5, "lost"), line(13.5, "live")]
    kept = [line(9, "live"), line(40, "lost"), line(41, "live")]
    found = times(run_of(faults(FAULT), one=lost, two=kept))["kill"]
    assert found.live_s == [3.5]


def test_who_left_or_stood_still_does_not_count() -> None:
    """Of its own will it was told nothing."""
    left = [line(9, "left"), line(20, "returned"), send(12.5, "new"), line(21, "live"), told(21, "new")]
    stalled = [line(9, "stalled"), line(12.1, "went_on"), told(30, "new")]
    leaves = [line(12.2, "left"), told(30, "new")]
    found = times(run_of(faults(FAULT), one=left, two=stalled, three=leaves))["kill"]
    assert found.flow_s == []
    assert found.live_s == []


def test_only_faults_by_themselves_are_timed() -> None:
    """One after which another one begins too soon says nothing about its kind."""
    first = Injected(1, "kill", "cell", 10, 12, 13)
    near = Injected(2, "cut", "cell", 15, 16, 16)
    far = Injected(3, "kill", "cell", 40, 41, 42)
    assert list(alone([first, near, far])) == [near, far]
    assert list(alone([first, far])) == [first, far]


def test_the_report_tells_how_long_clients_of_a_killed_server_were_away() -> None:
    """For each kind of kill by itself: p50, p99 and worst over all clients that lost a stream, and how many those are."""
    away_s = [1.0, 2.0, 3.0, 4.0, 4.5]
    clients = {
        f"c{number}": [line(9, "live"), line(10.1, "lost"), line(10 + s, "live")]
        for number, s in enumerate(away_s)
    }
    for kind in ("kill server", "worker kill"):
        run = run_of(faults(FAULT, of=kind), kept=[line(9, "live")], **clients)
        found = report.as_json(run, [], {})["recovery"][kind]
        assert (found["live_p50_s"], found["live_p99_s"], found["live_worst_s"]) == (3.0, 4.5, 4.5)
        assert found["streams_lost"] == len(away_s)


def test_percentiles_are_values_that_were_seen() -> None:
    """The middle one, the last one; of nothing, nothing."""
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert percentile([1.0, 2.0, 3.0], 1) == 3.0
    assert percentile([], 0.5) == 0.0
