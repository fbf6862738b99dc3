"""The ids of a window of time."""

from hypothesis import given
from hypothesis import strategies as st

from event_log.recent_ids import RecentIds


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.integers(0, 15)), max_size=60))
def test_tells_the_oldest_use_within_the_window(uses: list[tuple[str, int, int]]) -> None:
    """The digest that comes back is that of the oldest use at most a window ago, dropped or not; None without one."""
    ids = RecentIds(10)
    now = 0
    past: list[tuple[int, str, int]] = []
    for key, digest, step in uses:
        now += step
        expected = next((d for at, k, d in past if k == key and now - at <= 10), None)
        assert ids.use(key, digest, now) == expected
        past.append((now, key, digest))


def test_one_id_used_over_and_over_costs_no_more() -> None:
    """Equal uses of an id are one entry; ids that nobody uses any more are forgotten within two windows."""
    ids = RecentIds(1_000)
    for now in range(500):
        ids.use("same", 1, now)
    assert len(ids._new["same"]) == 1
    for now in range(1_001, 4_000, 1_001):
        ids.use("other", 1, now)
    assert "same" not in ids._new
    assert "same" not in ids._old
