"""A process to be killed: appends to a log and stores it, as fast as it can. Says one line when it has begun."""

import asyncio
import sys
from pathlib import Path

from event_log.embedded import EmbeddedLog, EmbeddedLogSettings
from history_service.embedded import EmbeddedStore
from tests.history_service.commands import CONVERSATIONS
from tests.history_service.log_driving import Appender, consuming
from tests.history_service.written import WrittenLog


async def main(folder: Path, start: int) -> None:
    """Go on until killed, with ids from `start` on. Copies name origins of the log, so offsets begin at its ends."""
    log = await EmbeddedLog.open(folder / "log", 4, EmbeddedLogSettings(reserve_bytes=4096))
    store = await EmbeddedStore.open(folder / "history")
    made = WrittenLog(4, log.incarnation)
    for partition, end in (await log.end_offsets(range(4))).items():
        made.records[partition] = [b""] * end
    appender = Appender(log, made, dict(await log.end_offsets(range(4))))
    async with consuming(log, store):
        print("begun", flush=True)
        for number in range(start, sys.maxsize):
            users = CONVERSATIONS[number % len(CONVERSATIONS)]
            ref = made.message(users[number % len(users)], users, f"m{number}", 1_000 + number // 3)
            made.reaction(users[0], users, ref, "+", number % 2 == 0, f"r{number}")
            made.read_mark(users[-1], users, ref)
            if number % 10 == 0:
                await appender.append()
                await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
