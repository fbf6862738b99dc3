"""Waiting for news."""

import asyncio

from event_log.waiter import Waiter


async def test_a_waiter_is_woken_or_has_waited_long_enough() -> None:
    """`wake` ends a wait at once; without it the time does; a wake that nobody waits for is not remembered."""
    waiter = Waiter()
    waiter.wake()
    waiting = asyncio.create_task(waiter.wait(3_600))
    await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    waiter.wake()
    waiter.wake()
    await asyncio.wait_for(waiting, 10)
    await waiter.wait(0.001)


async def test_a_wait_that_is_cancelled_leaves_nothing() -> None:
    """The next wait is a new one."""
    waiter = Waiter()
    waiting = asyncio.create_task(waiter.wait(3_600))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    waiter.wake()
    await waiter.wait(0.001)
