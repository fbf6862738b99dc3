"""Numbers of R3 that belong together."""

from messaging_core.limits import ACCEPT_DEADLINE_S, DEDUP_WINDOW_S, RETRY_WINDOW_S


def test_a_last_blind_try_lands_within_the_dedup_window() -> None:
    """A try lands within 2 D: the last one within W of the first, and the window tells a client when one no longer can."""
    lands_within_s = 2 * ACCEPT_DEADLINE_S
    assert RETRY_WINDOW_S + lands_within_s <= DEDUP_WINDOW_S
    assert lands_within_s <= RETRY_WINDOW_S
