"""Event times that are never behind what was seen (I12)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging_core.clock import MAX_SKEW_US, HybridClock, passing_s, steady_us, wall_us

STEPS = st.lists(st.tuples(st.sampled_from(["stamp", "observe"]), st.integers(-(10**9), 10**9)), max_size=50)


@given(STEPS)
def test_stamps_are_above_all_stamped_and_observed(steps: list[tuple[str, int]]) -> None:
    """Whatever the wall clock does and others say, a stamp is above every earlier stamp and every honoured time."""
    now = 10**15
    clock = HybridClock(lambda: now)
    seen = 0
    for action, by_us in steps:
        now += by_us // 10
        if action == "stamp":
            stamp = clock.stamp()
            assert stamp > seen
            assert stamp == max(now, seen + 1)
            seen = stamp
        else:
            observed = now + by_us
            honoured = clock.is_honoured(observed)
            assert honoured == (observed <= max(seen, now + MAX_SKEW_US))
            clock.observe(observed)
            if honoured:
                seen = max(seen, observed)


def test_a_time_too_far_ahead_moves_nothing() -> None:
    """A clock of another machine that is wrong by more than the bound does not drag this one along."""
    clock = HybridClock(lambda: 1_000)
    clock.observe(1_000 + MAX_SKEW_US + 1)
    assert clock.stamp() == 1_000
    clock.observe(1_000 + MAX_SKEW_US)
    assert clock.stamp() == 1_000 + MAX_SKEW_US + 1


def test_the_wall_clock_is_in_microseconds() -> None:
    """Microseconds since 1970."""
    assert 1_600_000_000_000_000 < wall_us() < 10_000_000_000_000_000


def test_the_steady_clock_is_not_moved_by_who_sets_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the time of day at first, passes, and takes no part in what becomes of the time of day."""
    minute_us = 60_000_000
    before_us = steady_us()
    assert abs(before_us - wall_us()) < 60 * minute_us
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert wall_us() == 0
    assert before_us <= steady_us() < before_us + minute_us


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no such clock")
def test_what_passes_goes_on_while_the_machine_sleeps() -> None:
    """On Linux that is CLOCK_BOOTTIME."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= passing_s() <= time.clock_gettime(time.CLOCK_BOOTTIME)
