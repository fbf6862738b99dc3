"""Reads history for the checker: page by page while things go on, and all of it at the end."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from cell.history.v1 import history_pb2 as history
from cell.history.v1 import history_pb2_grpc
from check.calls import bearer, open_channel
from check.faults import tasks
from check.faults.clients.plain import event_of, message_of, ref_in
from check.faults.ledger import LedgerFile
from check.faults.plan import Plan
from check.faults.run import FOLLOWER, HISTORY

CALL_S = 10.0
_EVERY_S = (1.0, 4.0)
_MARKS_IN = 3
"""Marks are looked at each time in so many."""
_END_DEADLINE_S = 180.0
_PAGE = 200


class HistoryNotWhole(Exception):
    """History could not be read to its end."""


class HistoryReader:
    """Asks the History API as one user, at any of the addresses."""

    def __init__(self, plan: Plan, user: str, ledger: LedgerFile) -> None:
        self._metadata = bearer(plan.tokens[user])
        self._addresses = plan.addresses
        self._ledger = ledger
        self._after = ""

    async def follow(self) -> None:
        """Read on and on, whatever fails; until cancelled."""
        chance = random.Random()
        while True:
            await asyncio.sleep(chance.uniform(*_EVERY_S))
            with suppress(grpc.aio.AioRpcError):
                async with _Stub(chance.choice(self._addresses)) as stub:
                    await self._read_events(stub)
                    if chance.randrange(_MARKS_IN) == 0:
                        await self._read_conversations(stub)

    async def read_all(self, last: Sequence[str]) -> None:
        """Everything, once the last messages are there. Raises HistoryNotWhole."""
        deadline_s = time.monotonic() + _END_DEADLINE_S
        while True:
            try:
                async with _Stub(self._addresses[0]) as stub:
                    missing = set(last) - await self._message_ids(stub)
                    if not missing:
                        return await self._write_all(stub)
            except grpc.aio.AioRpcError as error:
                missing = {str(error.details())}
            if time.monotonic() > deadline_s:
                raise HistoryNotWhole(f"missing: {', '.join(sorted(missing))}")
            await asyncio.sleep(1)

    async def _message_ids(self, stub: Any) -> set[str]:
        return {
            event.message.ref.message_id
            async for page in self._event_pages(stub, "")
            for event in page.events
            if event.HasField("message")
        }

    async def _write_all(self, stub: Any) -> None:
        self._after = ""
        await self._read_events(stub)
        self._ledger.write("read_to_end", what="events")
        for conversation in await self._read_conversations(stub):
            await self._read_messages(stub, conversation)
        self._ledger.write("read_to_end", what="messages")

    async def _read_events(self, stub: Any) -> None:
        async for page in self._event_pages(stub, self._after):
            for event in page.events:
                self._ledger.write("event", **event_of(event).to_json())
            for gap in page.gaps:
                self._ledger.write("gap", until=gap.until)
            self._after = page.next_cursor

    async def _event_pages(self, stub: Any, after: str) -> AsyncIterator[history.ListEventsResponse]:
        while True:
            request = history.ListEventsRequest(after_cursor=after, page_size=_PAGE)
            page = await stub.ListEvents(request, metadata=self._metadata, timeout=CALL_S)
            yield page
            if page.next_cursor == page.persisted_cursor:
                return
            after = page.next_cursor

    async def _read_conversations(self, stub: Any) -> list[str]:
        found: list[str] = []
        request = history.ListConversationsRequest(page_size=_PAGE)
        while True:
            page = await stub.ListConversations(request, metadata=self._metadata, timeout=CALL_S)
            for each in page.conversations:
                found.append(each.conversation_id)
                read = ref_in(each.read_through) if each.HasField("read_through") else None
                peers = {
                    peer.user_id: ref_in(peer.read_through)
                    for peer in each.peer_marks
                    if peer.HasField("read_through")
                }
                self._ledger.write("conversation", id=each.conversation_id, read=read, peers=peers)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def _read_messages(self, stub: Any, conversation: str) -> None:
        """From the oldest on."""
        request = history.ListMessagesRequest(
            conversation=history.ConversationName(conversation_id=conversation),
            page_size=_PAGE,
            direction=history.DIRECTION_NEWER,
        )
        while True:
            page = await stub.ListMessages(request, metadata=self._metadata, timeout=CALL_S)
            for each in page.messages:
                reactions = [(one.key, user) for one in each.reactions for user in one.user_ids]
                message = message_of(each.message, "").to_json()
                self._ledger.write("message", message=message, reactions=reactions)
            if not page.messages:
                return
            request.page_token = page.newer_page_token


class _Stub:
    """A connection for a few calls."""

    def __init__(self, address: str) -> None:
        self._channel = open_channel(address)

    async def __aenter__(self) -> Any:
        return history_pb2_grpc.HistoryServiceStub(self._channel)

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()


class Followers:
    """Readers of all users, who read on while things happen. `async with` ends them."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._readers = [
            HistoryReader(plan, user, LedgerFile(folder / f"{FOLLOWER}{user}.jsonl")) for user in plan.users
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        self._tasks = [asyncio.create_task(reader.follow()) for reader in self._readers]

    async def __aexit__(self, *_: object) -> None:
        await tasks.end(self._tasks)


async def read_all(folder: Path, plan: Plan, last: Sequence[str]) -> None:
    """History of all users, once it has these messages, which were for everybody. Raises HistoryNotWhole."""
    for user in plan.users:
        await HistoryReader(plan, user, LedgerFile(folder / f"{HISTORY}{user}.jsonl")).read_all(last)
