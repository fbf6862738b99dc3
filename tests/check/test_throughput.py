import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from check.charts import draw
from check.connections.client import CellClient, Tally
from check.connections.ledger import Verdict
from check.connections.phase import Phase
from check.connections.result import Sent
from check.grpc_stream import GrpcStream
from check.histogram import Histogram
from check.throughput import __main__ as command
from check.throughput import plot
from check.throughput.curve import Curve, Point, Step
from check.throughput.scenarios import SCENARIOS, named


def _point(rate: float, *, p99_ms: float = 5.0, lost: int = 0, rejected: int = 0, come: int = 4) -> Point:
    latency = Histogram()
    latency.add(int(p99_ms * 1e3))
    sent = Sent(
        phase=Phase("1", 0, 1, 1.0),
        seconds=1.0,
        sent=2,
        accepted=2,
        delivered=come - 2,
        own=2,
        doubled=0,
        out_of_order=0,
        rejected={"TOO_MANY_IN_FLIGHT": rejected} if rejected else {},
        ended={},
        times={"latency": latency, "accept": Histogram(), "late": Histogram()},
        cpu_us={"cell": 1e6, "clients": 5e5},
        rss_kb={},
    )
    return Point(Step("1", rate), sent, Verdict(expected=4, lost=lost), deliveries=4)


def _hello_of(client: CellClient) -> bytes:
    """What it says on a new stream."""
    written: list[bytes] = []
    client.open()
    with patch.object(GrpcStream, "send", lambda _, frame: written.append(frame)):
        client.hello()
    (frame,) = written
    return frame


@pytest.mark.timeout(120)
def test_a_curve_of_two_rates_says_what_each_of_them_costs(tmp_path: Path) -> None:
    """A load of one's own on an embedded cell: both rates are held, and their figures are written down."""
    figures, plot = tmp_path / "curve.json", tmp_path / "curve.svg"
    words = f"--connections 6 --recipients 2 --rates 30,60 --seconds 1 --idle-s 0.2 --json {figures} --plot {plot}"
    assert command.main(words.split()) == 0
    written = json.loads(figures.read_text())
    first, second = written["curves"]["own"]
    assert (first["expected"], second["expected"]) == (6 * 5 * 3, 6 * 10 * 3)
    assert (first["sent"]["sent"], second["sent"]["sent"]) == (30, 60)
    assert (first["sent"]["delivered"], second["sent"]["delivered"]) == (60, 120)
    assert (first["lost"], second["lost"]) == (0, 0)
    assert second["figures"]["deliveries_per_s_of_server_cpu"] > 0
    assert second["figures"]["latency_p95_ms"] >= second["figures"]["latency_p50_ms"] > 0
    assert "<svg" in plot.read_text()


def test_a_rate_holds_while_nothing_is_late_lost_refused_or_missing() -> None:
    """p99 below a second and everything there; each fault alone ends that."""
    assert _point(10).holds
    assert not _point(10, p99_ms=1_001).holds
    assert not _point(10, lost=1).holds
    assert not _point(10, rejected=1).holds
    assert not _point(10, come=3).holds


def test_the_highest_rate_has_none_below_it_that_did_not_hold() -> None:
    """A rate that held after a lower one had not is luck."""
    points = [_point(10), _point(20), _point(30, lost=1), _point(40)]
    highest = Curve(None, points).highest("1")  # type: ignore[arg-type]  # how they connected is not looked at
    assert highest is not None
    assert highest.step.total_rate == 20
    assert Curve(None, [_point(10, lost=1)]).highest("1") is None  # type: ignore[arg-type]


def test_charts_say_which_rate_holds_and_name_the_loads_of_several_shapes(tmp_path: Path) -> None:
    """One kind of recipients: numbers along the axis, and the highest rate marked; several: a name for each."""
    (pairs,), (shapes,) = named(["pairs"]), named(["shapes"])
    one = Curve(None, [_point(10), _point(20), _point(30, lost=1)])  # type: ignore[arg-type]
    mixed = replace(one, points=[_point(10), replace(_point(10), step=Step("all", 10))])
    charts = plot.of_curves({pairs: one, shapes: mixed})
    assert [list(chart.at) for chart in charts[1:3]] == [[10, 20, 30], ["10/s to 1", "10/s to all"]]
    assert list(charts[0].series) == ["p50", "p95", "p99"]
    assert charts[0].is_log
    assert charts[0].marks == {"holds to 20/s": 20}
    assert list(charts[1].series) == ["cell", "clients"]
    draw(tmp_path / "curves.png", "curves", charts, beside=2)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_whole_cell_on_kafka_is_asked_for_with_its_engine_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """On the embedded engine it is refused before anything is started, with both options' names."""
    with pytest.raises(SystemExit) as exit_code:
        command.main(["self", "--whole"])
    assert exit_code.value.code == 2
    assert "--whole goes with --engine kafka" in capsys.readouterr().err


def test_scenarios_are_found_by_name_and_rooms_together() -> None:
    """An unknown name is told with those that there are."""
    assert [scenario.name for scenario in named(["self"])] == ["self"]
    rooms = [scenario.name for scenario in named(["room"])]
    assert rooms == [scenario.name for scenario in SCENARIOS if scenario.name.startswith("room-")]
    with pytest.raises(ValueError, match="scenarios are self"):
        named(["unknown"])


async def test_a_client_that_comes_back_asks_for_what_it_missed() -> None:
    """It goes on from the last cursor it was given, by whichever update; from another log it is judged no more (R10)."""
    tally = Tally(on_lost=lambda _: None)
    client = CellClient(1, tally, "token")
    told = [
        messaging.Update(resumed=messaging.Resumed(cursor="a", outcome=messaging.RESUME_OUTCOME_LIVE)),
        messaging.Update(event=messaging.Event(cursor="b")),
        messaging.Update(checkpoint=messaging.Checkpoint(cursor="c")),
    ]
    client.take(messaging.ConnectResponse(updates=told).SerializeToString())
    frame = _hello_of(client)
    assert messaging.ConnectRequest.FromString(frame).commands[0].hello.resume_after == "c"
    assert client.whole
    reset = messaging.Resumed(cursor="d", outcome=messaging.RESUME_OUTCOME_RESET)
    client.take(messaging.ConnectResponse(updates=[messaging.Update(resumed=reset)]).SerializeToString())
    assert not client.whole


async def test_one_that_does_not_verify_counts_and_looks_into_nothing() -> None:
    """Each event counts as delivered, its own too."""
    tally = Tally()
    client = CellClient(1, tally, "token", verifies=False)
    event = messaging.Event(cursor="b")
    updates = [messaging.Update(event=event), messaging.Update(event=event)]
    client.take(messaging.ConnectResponse(updates=updates).SerializeToString())
    assert (tally.delivered, tally.own, len(tally.latency), client.received) == (2, 0, 0, {})


async def test_messages_sent_at_once_go_out_in_frames_of_the_size_a_cell_takes() -> None:
    """Forty in a row are two frames, in order."""
    tally = Tally()
    client = CellClient(1, tally, "token")
    written: list[bytes] = []
    with patch.object(GrpcStream, "send", lambda _, frame: written.append(frame)):
        for number in range(40):
            client.send(number, 1, ["user-000002"])
        client.flush()
    frames = [messaging.ConnectRequest.FromString(frame) for frame in written]
    commands = [command.command_id for frame in frames for command in frame.commands]
    assert commands == list(range(2, 42))
    assert max(len(frame.commands) for frame in frames) <= 32
    assert max(frame.ByteSize() for frame in frames) <= 8_192
