"""Two users with clients all over a cell of many processes, who write to each other whatever happens to it."""

import asyncio
from types import TracebackType
from typing import Self

from tests.support.engines import unique_name
from tests.system.processes import Cell, Reader


class Room:
    """Two users with clients everywhere, who write to each other all the time."""

    def __init__(self, cell: Cell, clients: int) -> None:
        """With so many clients each."""
        self.users = (unique_name("ann"), unique_name("bob"))
        self._cell = cell
        self._clients = clients
        self.readers: dict[str, list[Reader]] = {}
        self.sent: list[str] = []
        self._writing: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _open(self) -> None:
        for user in self.users:
            self.readers[user] = []
            for number in range(self._clients):
                client = self._cell.client(user, number)
                await client.start()
                await client.online()
                self.readers[user].append(Reader(client))
        for user, other in (self.users, self.users[::-1]):
            for number, reader in enumerate(self.readers[user][:2]):
                self._writing.append(asyncio.create_task(self._write(reader, f"{user}-{number}", other)))

    async def _write(self, reader: Reader, name: str, other: str) -> None:
        number = 0
        while True:
            text = f"{name}-{number}"
            await reader.client.send(text, to=other, timeout_s=120)
            self.sent.append(text)
            number += 1
            await asyncio.sleep(0.02)

    async def goes_on(self, messages: int = 20) -> None:
        """Until so many more were accepted and told to everyone."""
        async with asyncio.timeout(120):
            for _ in range(2):  # what was told before does not count
                accepted = len(self.sent) + messages
                while len(self.sent) < accepted:
                    await asyncio.sleep(0.02)
                for reader in self.all:
                    while len(reader.texts) < accepted - messages:
                        await asyncio.sleep(0.02)

    @property
    def all(self) -> list[Reader]:
        """The clients of both."""
        return [reader for readers in self.readers.values() for reader in readers]

    async def check(self) -> None:
        """Stop writing. Everyone was told of everything once; all clients of a user in the same order; history has it."""
        for task in self._writing:
            task.cancel()
        ended = await asyncio.gather(*self._writing, return_exceptions=True)
        assert all(isinstance(error, asyncio.CancelledError) for error in ended), ended
        # A send that was cancelled may have landed: it counts for all or for none.
        for reader in self.all:
            await reader.until(len(self.sent))
        await asyncio.sleep(1)
        for readers in self.readers.values():
            orders = [reader.texts for reader in readers]
            assert all(order == orders[0] for order in orders)
            assert len(set(orders[0])) == len(orders[0])
            assert set(self.sent) <= set(orders[0])
            assert len(orders[0]) <= len(self.sent) + len(self._writing)
            for writer in {text.rpartition("-")[0] for text in self.sent}:
                numbers = [int(t.rpartition("-")[2]) for t in orders[0] if t.startswith(f"{writer}-")]
                assert numbers == sorted(numbers)
        told = set(self.all[0].texts)
        assert all(set(reader.texts) == told for reader in self.all)
        reader = self.readers[self.users[0]][0]
        async with asyncio.timeout(120):
            while {m.message.text async for m in reader.client.history(to=self.users[1])} != told:
                await asyncio.sleep(0.2)

    async def close(self) -> None:
        """Stop writing and reading."""
        for task in self._writing:
            task.cancel()
        for reader in self.all:
            await reader.close()
