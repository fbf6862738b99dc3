"""The clock that the client's times are measured by."""

import sys
import time

import pytest

from messaging_client import clock


def test_it_never_goes_back() -> None:
    """Whatever is asked in whatever order."""
    seen = [clock.now_s() for _ in range(1_000)]
    assert seen == sorted(seen)


def test_the_time_of_day_does_not_move_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sets the clock back by a day."""
    before = clock.now_s()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert 0.0 <= clock.now_s() - before < 50.0


@pytest.mark.skipif(
    sys.platform != "linux", reason="the clock that goes on in sleep has another name elsewhere"
)
def test_it_goes_on_while_the_machine_sleeps() -> None:
    """On Linux that is CLOCK_BOOTTIME."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= clock.now_s() <= time.clock_gettime(time.CLOCK_BOOTTIME)
