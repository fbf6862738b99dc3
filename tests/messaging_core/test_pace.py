"""How often something may happen."""

import pytest

from messaging_core.pace import AT_ONCE, Pace

INTERVAL_S = 0.25


def went_at(pace: Pace, wishes_s: list[float]) -> list[float]:
    """When each of these happens, that wishes to at such a time and keeps to the pace."""
    times: list[float] = []
    for wish_s in wishes_s:
        now_s = max(wish_s, pace.free_at())
        pace.went(now_s)
        times.append(now_s)
    return times


def test_what_comes_alone_is_not_held_up() -> None:
    """After a rest a few may follow one another at once, whenever that is."""
    wishes = [100.0 + second for second in range(3) for _ in range(AT_ONCE)]
    assert went_at(Pace(INTERVAL_S), wishes) == wishes


def test_what_comes_often_happens_once_an_interval() -> None:
    """However many wish to: nobody waits longer than that for the next time, and none is lost by waiting for work."""
    times = went_at(Pace(INTERVAL_S), [0.0] * (AT_ONCE + 8))
    assert times == [0.0] * AT_ONCE + [INTERVAL_S * n for n in range(1, 9)]


@pytest.mark.parametrize("every_s", [INTERVAL_S, 2 * INTERVAL_S])
def test_what_comes_no_more_often_than_that_never_waits(every_s: float) -> None:
    """A part that has less to do is not slowed down."""
    wishes = [every_s * n for n in range(50)]
    assert went_at(Pace(INTERVAL_S), wishes) == wishes


def test_a_rest_makes_up_for_no_more_than_a_few() -> None:
    """After a long rest as many may follow at once as at the start, not more."""
    pace = Pace(INTERVAL_S)
    went_at(pace, [0.0] * 20)
    assert went_at(pace, [1_000.0] * (AT_ONCE + 2))[-2:] == [1_000.0 + INTERVAL_S, 1_000.0 + 2 * INTERVAL_S]
