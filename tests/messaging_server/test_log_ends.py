import asyncio

from messaging_server.log_ends import LogEnds
from tests.messaging_server.memory_log import MemoryLog


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
