import asyncio

from check.alarm import Alarm
from check.load import now_us


async def test_it_rings_once_at_the_time_it_was_set_to_last_and_never_before() -> None:
    """A later setting replaces an earlier one, a time that is over rings at once, and none rings early."""
    rings: list[int] = []
    rang = asyncio.Event()

    def ring() -> None:
        rings.append(now_us())
        rang.set()

    alarm = Alarm(ring)
    try:
        due_us = now_us() + 30_000
        alarm.set(due_us - 20_000)
        alarm.set(due_us)
        await asyncio.wait_for(rang.wait(), 30)
        assert len(rings) == 1
        assert rings[0] >= due_us
        rang.clear()
        alarm.set(now_us() - 1_000_000)
        await asyncio.wait_for(rang.wait(), 30)
        assert len(rings) == 2
    finally:
        alarm.close()
