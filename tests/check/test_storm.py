from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from check.connections.fleet import Seen
from check.connections.ledger import Verdict
from check.connections.phase import Phase
from check.connections.result import Connected, Sent
from check.histogram import Histogram
from check.throughput import storm
from check.throughput.returns import Served
from check.throughput.storm import Storm


def _storm(**sent: Any) -> Storm:
    connected = Connected(
        live=10,
        failed={},
        seconds=1.0,
        times=Histogram(),
        cpu_us={},
        kb_per_stream=40.0,
        client_kb_per_stream=4.0,
        kernel_kb_per_stream=5.0,
        idle_cores={},
    )
    times = {name: Histogram() for name in ("latency", "accept", "late", "return")}
    phase = Phase("1", 0, 1, 1.0)
    counts = dict.fromkeys(("sent", "accepted", "delivered", "own", "doubled", "out_of_order"), 0)
    known: dict[str, Any] = {**counts, **sent}
    done = Sent(phase=phase, seconds=1.0, rejected={}, ended={}, times=times, cpu_us={}, rss_kb={}, **known)
    used_us, usual_cores = {"clients": 1e6, "kafka": 5e5}, {"clients": 0.0, "kafka": 0.1}
    return Storm(connected, 5, 5, 2.5, used_us, usual_cores, Served(5, 1, 2), done, Verdict())


def test_a_storm_is_sound_if_all_came_back_and_nothing_came_twice_or_not_at_all() -> None:
    """Each fault alone is one, and so is a kill that broke nothing."""
    sound = _storm()
    assert sound.is_sound
    assert not replace(sound, returned=4).is_sound
    assert not replace(sound, broken=0, returned=0).is_sound
    assert not replace(sound, verdict=Verdict(lost=1)).is_sound
    assert not _storm(doubled=1).is_sound
    assert not _storm(out_of_order=1).is_sound
    assert sound.figures()["cpu_us_per_return_of_kafka"] == 100_000
    assert replace(sound, returned=4).figures()["not_back_failed"] == 1


def test_a_storm_tells_what_it_cost_beyond_what_was_sent_meanwhile() -> None:
    """Of each role, and what returning streams were served from."""
    figures = _storm().figures()
    assert figures["cpu_us_per_return_beyond_usual_of_kafka"] == 50_000
    assert figures["cpu_us_per_return_beyond_usual_of_clients"] == 200_000
    assert (figures["served_from_window"], figures["sent_to_history"], figures["pages_of_history"]) == (
        5,
        1,
        2,
    )


async def test_it_waits_until_none_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first stream that broke until as many have come back; not before any broke."""
    seen = [
        Seen(),
        Seen(ended=Counter({"lost": 3}), counts=Counter(returned=1)),
        Seen(ended=Counter({"lost": 4}), counts=Counter(returned=4)),
    ]

    class UnderWay:
        def seen(self) -> Seen:
            return seen.pop(0)

    under_way: Any = UnderWay()
    assert await storm._all_back(under_way) == (4, 4)
    monkeypatch.setattr(storm, "_BOUND_S", -1.0)
    seen.append(Seen(ended=Counter({"lost": 2})))
    assert await storm._all_back(under_way) == (2, 0)


def test_a_storm_takes_two_workers(capsys: pytest.CaptureFixture[str]) -> None:
    """With one there is nowhere to come back to."""
    with pytest.raises(SystemExit):
        storm.main(["--workers", "1"])
    assert "--workers" in capsys.readouterr().err
