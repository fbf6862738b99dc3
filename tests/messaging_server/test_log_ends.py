"""Look-ups of where partitions end: shared, and none held up by another's (I14)."""

import asyncio

import pytest

from event_log.port import LogError, LogUnavailable
from messaging_server.log_ends import LogEnds
from tests.messaging_server.memory_log import MemoryLog

PATIENCE_S = 30.0


async def test_those_who_ask_while_a_look_up_is_under_way_share_the_next() -> None:
    """One look-up serves all who asked before it began; an answer is read after its question."""
    log = MemoryLog(partition_count=1)
    ends = LogEnds(log)
    answers: list[tuple[str, int | None]] = []
    ends.ask(0, lambda end: answers.append(("first", end)))
    await asyncio.sleep(0)
    log.put(0, b"")
    for n in range(10):
        ends.ask(0, lambda end, n=n: answers.append((str(n), end)))  # type: ignore[misc]
    while len(answers) < 11:
        await asyncio.sleep(0)
    assert log.end_reads == 2
    assert dict(answers)["9"] == 1
    await ends.close()


async def test_a_log_that_is_away_answers_none() -> None:
    """Who asked is told that there is no answer, and may ask again."""
    log = MemoryLog()
    log.away = True
    answers: list[int | None] = []
    ends = LogEnds(log)
    ends.ask(0, answers.append)
    while not answers:
        await asyncio.sleep(0)
    log.away = False
    ends.ask(0, answers.append)
    while len(answers) < 2:
        await asyncio.sleep(0)
    assert answers == [None, 0]
    await ends.close()


async def test_a_partition_that_is_not_told_of_holds_up_no_other() -> None:
    """I14: it is left out once, then asked for alone, while others are told; and with the others when it is back."""
    log = MemoryLog(partition_count=3)
    log.silent = {0}
    ends = LogEnds(log)
    answers: list[tuple[int, int | None]] = []

    def ask(partition: int) -> None:
        ends.ask(partition, lambda end: answers.append((partition, end)))

    async def until_told(*expected: tuple[int, int | None]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(answers) < len(expected):
                await asyncio.sleep(0)
        assert sorted(answers, key=str) == sorted(expected, key=str)
        answers.clear()

    for partition in (0, 1):
        ask(partition)
    await until_told((0, None), (1, 0))
    for partition in (0, 1, 2):
        ask(partition)
    await until_told((1, 0), (2, 0))
    ask(1)
    await until_told((1, 0))
    log.silent = set()
    await until_told((0, None))
    ask(0)
    await until_told((0, 0))
    reads = log.end_reads
    for partition in (0, 1, 2):
        ask(partition)
    await until_told((0, 0), (1, 0), (2, 0))
    assert log.end_reads == reads + 1
    await ends.close()


@pytest.mark.parametrize("error", [LogUnavailable("away"), LogError("refused")])
async def test_who_asked_is_told_whatever_went_wrong(
    error: LogError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that is never told would stay half open; it asks again."""
    log = MemoryLog()
    ends = LogEnds(log)
    answers: list[int | None] = []

    async def fail(partitions: object) -> dict[int, int]:
        raise error

    with monkeypatch.context() as failing:
        failing.setattr(log, "end_offsets", fail)
        ends.ask(0, answers.append)
        async with asyncio.timeout(PATIENCE_S):
            while not answers:
                await asyncio.sleep(0)
    ends.ask(0, answers.append)
    async with asyncio.timeout(PATIENCE_S):
        while len(answers) < 2:
            await asyncio.sleep(0)
    assert answers == [None, 0]
    await ends.close()
