from hypothesis import given
from hypothesis import strategies as st

from messaging_server.timer import TICK_S, CoarseTimer


@given(st.lists(st.floats(0, 1_000)), st.lists(st.floats(0.1, 400), min_size=1), st.floats(0, 100))
def test_everything_comes_out_once_and_in_time(times: list[float], pauses: list[float], start: float) -> None:
    """An entry comes out once, not before its time, and a tick after it at most, even after a long pause."""
    timer: CoarseTimer[float] = CoarseTimer(start)
    for at_s in times:
        timer.add(start + at_s, start + at_s)
    out: list[float] = []
    now_s = start
    for pause_s in [*pauses, 2_000.0]:
        now_s += pause_s
        due = timer.take_due(now_s)
        assert all(at_s <= now_s for at_s in due)
        out += due
        assert not any(at_s + 2 * TICK_S < now_s and at_s not in out for at_s in (start + t for t in times))
    assert sorted(out) == sorted(start + at_s for at_s in times)


def test_what_is_never_due_is_not_kept() -> None:
    """A session that was closed after it had asked to be woken is never due; it must not hold up the others."""
    timer: CoarseTimer[str] = CoarseTimer(0.0)
    timer.add(float("inf"), "closed")
    timer.add(1.0, "open")
    assert timer.take_due(1e6) == ["open"]
