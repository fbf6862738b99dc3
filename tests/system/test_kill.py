"""kill -9 at random points under load: what was accepted is there, once, for everyone; what was not is settled by retry."""

import asyncio
import os
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from check.calls import eventually
from check.history_pages import all_messages, by_id, events_at_least
from check.ledger import (
    Ledger,
    conversation,
    is_message,
    marks,
    once_violations,
    reactions,
    session_violations,
    sort_key,
    without_marks,
)
from check.plain_client import PlainClient
from check.plain_outbox import Submission, new_id, text_message
from tests.system.cell_process import CellProcess, token

KILLS = int(os.environ.get("KILLS", "10"))
MOST = 1_000
"""Messages between two kills, about: the fast clients wait for the slow ones."""
WIDE = tuple(f"wide{n}" for n in range(18))
"""Makes a group wide enough to be stored once for all of a partition."""
SEED = int(os.environ.get("KILL_SEED", "20261121"))


class Load:
    """Everyone writes, reacts and marks, over all restarts, and remembers what was accepted."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._stop = asyncio.Event()
        self.accepted: dict[str, set[tuple[str, str]]] = {"ann": set(), "bob": set(), "eve": set()}
        """By user: (sender, id) of every accepted message that concerns it."""
        self.count = 0
        self.most = 0
        """Accepted messages that are enough for now."""
        self.behind: set[PlainClient] = set()
        """Clients that have settled nothing since this was filled."""
        self.found = 0
        self.retried = 0
        self.reacted = 0

    async def write(self, client: PlainClient, to: Sequence[str], most: int = 20) -> None:
        """Bursts of up to `most` messages to these users until told to stop."""
        while not self._stop.is_set():
            texts = [
                f"{self._chance.random()} {'x' * self._chance.randrange(600)}"
                for _ in range(self._chance.randrange(1, most))
            ]
            submissions = [client.submit(text_message(text, to)) for text in texts]
            for submission in submissions:
                await client.settle(submission)
                self.behind.discard(client)
                self._settled(client.user_id, to, submission)
            await asyncio.sleep(0.02)
            while self.count >= self.most and client not in self.behind and not self._stop.is_set():
                await asyncio.sleep(0.05)  # or there would be more to catch up with than a test has time

    def _settled(self, sender: str, to: Sequence[str], submission: Submission) -> None:
        assert submission.accepted, submission.rejected
        self.count += 1
        self.retried += submission.tries > 1
        self.found += submission.found
        for user in {sender, *to} & self.accepted.keys():
            self.accepted[user].add((sender, submission.id))

    async def react_and_mark(self, client: PlainClient) -> None:
        """Reactions put and taken back, and read marks, until told to stop."""
        while not self._stop.is_set():
            messages = [event.message.ref for event in client.ledger.events[-50:] if is_message(event)]
            if messages:
                ref = self._chance.choice(messages)
                put = messaging.React(reaction_id=new_id(), message=ref, key=self._chance.choice("👍🎉"))
                take = messaging.Unreact(reaction_id=new_id(), message=ref, key=self._chance.choice("👍🎉"))
                read = messaging.MarkRead(through=messages[-1])
                for command in (
                    messaging.Command(react=put),
                    messaging.Command(unreact=take),
                    messaging.Command(mark_read=read),
                ):
                    await client.done(command)
                self.reacted += 2
            await asyncio.sleep(0.01)

    async def come_and_go(self, client_of: "ClientOf", user: str, ledger: Ledger) -> str:
        """A client that opens and closes its program all the time, keeping its cursor; returns the last."""
        cursor = ""
        while not self._stop.is_set():
            client = client_of(user, "connect", cursor, ledger)
            client.start()
            try:
                await self._until_more(client, self._chance.randrange(200))
            finally:
                await client.close()
            cursor = client.cursor or ""
        return cursor

    async def _until_more(self, client: PlainClient, steps: int) -> None:
        end = len(client.ledger.steps) + steps
        await client.until(lambda: len(client.ledger.steps) > end or self._stop.is_set(), "more")

    def stop(self) -> None:
        """Finish what is under way."""
        self._stop.set()


class ClientOf:
    """Makes clients of the cell under test."""

    def __init__(self, cell: CellProcess) -> None:
        self._cell = cell

    def __call__(
        self,
        user: str,
        transport: str = "connect",
        resume_after: str = "",
        ledger: Ledger | None = None,
        retry_window_s: float | None = None,
    ) -> PlainClient:
        return PlainClient(
            self._cell.address,
            user,
            token,
            transport=transport,
            resume_after=resume_after,
            ledger=ledger,
            retry_window_s=retry_window_s,
        )


async def kill_at_random(
    cell: CellProcess, chance: random.Random, load: Load, writers: Sequence[PlainClient]
) -> None:
    """Let some work be accepted, kill the process, and start it again; sometimes kill it while it starts, too.

    Of every two times all writers have come to something before, or the slowest would never have its turn.
    """
    target = load.count + chance.randrange(1, 120)
    load.most = load.count + MOST
    patient = bool(load.behind)
    if not patient:
        load.behind = set(writers)

    async def enough() -> bool:
        return load.count >= target and not (patient and load.behind)

    await eventually(enough, f"{target} accepted messages, and all but {load.behind}")
    await asyncio.sleep(chance.random() * 0.05)
    await asyncio.to_thread(cell.kill)
    if chance.random() < 0.25:
        cell.start(wait=False)
        await asyncio.sleep(chance.random() * 2)
        await asyncio.to_thread(cell.kill)
    await asyncio.to_thread(cell.start)


@pytest.mark.timeout(100 + 30 * KILLS)
async def test_nothing_accepted_is_lost_or_doubled(tmp_path: Path) -> None:
    """Kills under load: each accepted message is there once, in one order per user, for each client and in history."""
    print(f"KILL_SEED={SEED} KILLS={KILLS}")
    chance = random.Random(SEED)
    load = Load(random.Random(SEED + 1))
    with CellProcess(tmp_path, {"window_bytes": 1 << 16}) as cell:
        client_of = ClientOf(cell)
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(client)
                for client in (
                    client_of("ann"),
                    client_of("ann"),
                    client_of("ann", "subscribe"),
                    client_of("bob"),
                    client_of("eve", retry_window_s=0),  # never tries again blindly: always resumes and looks
                )
            ]
            phone, laptop, browser, bob, eve = clients
            traveller = Ledger("bob")
            async with asyncio.TaskGroup() as work:  # what fails in one stops all
                for task in (
                    load.write(phone, ["bob"]),
                    load.write(browser, ["bob", "eve"]),
                    load.write(bob, ["ann"]),
                    load.write(eve, ["ann", "bob"]),
                    load.write(laptop, ["bob", *WIDE], most=200),  # copies pile up behind the commits
                    load.react_and_mark(bob),
                    load.react_and_mark(laptop),
                ):
                    work.create_task(task)
                travels = work.create_task(load.come_and_go(client_of, "bob", traveller))
                for _ in range(KILLS):
                    await kill_at_random(cell, chance, load, clients)
                load.stop()
            last = await stack.enter_async_context(client_of("bob", "connect", await travels, traveller))
            await _check([*clients, last], load)
        assert "Traceback" not in cell.output
        print(
            f"{load.count} accepted, {load.retried} of them retried, {load.found} found by looking, "
            f"{load.reacted} reactions, {cell.starts} starts"
        )


async def _check(clients: Sequence[PlainClient], load: Load) -> None:
    for client in clients:
        await _until_all(client, load.accepted[client.user_id], clients)
    for client in clients:
        wanted = load.accepted[client.user_id]
        count = len({event.cursor for event in without_marks(client.ledger.events)})
        reference = await events_at_least(client, count)
        assert once_violations(client.ledger.events, wanted) == []
        assert once_violations(reference, wanted) == []
        assert client.ledger.names == wanted
        own = [
            e.message.ref for e in reference if is_message(e) and e.message.ref.sender_id == client.user_id
        ]
        assert own == sorted(own, key=sort_key)  # the clock goes on over restarts (I12)
        assert session_violations(reference, client.ledger, start=0) == []
        assert client.ledger.gaps == []
        assert client.strays == []
        assert client.conflicts == []
    ann, bob, eve = clients[0], clients[3], clients[4]
    for client in (ann, bob, eve):
        await _check_conversations(client, [other for other in (ann, bob, eve) if other is not client])


async def _until_all(
    client: PlainClient, wanted: set[tuple[str, str]], clients: Sequence[PlainClient]
) -> None:
    """Until a client has all accepted messages, and as many reactions as the others of its user."""
    mine = [other for other in clients if other.user_id == client.user_id]

    def count(other: PlainClient) -> int:
        return len(without_marks(other.ledger.events))

    await client.until(lambda: wanted <= client.ledger.names, "all accepted messages")
    await client.until(
        lambda: len({count(other) for other in mine}) == 1, "as many events as the user's others"
    )


async def _check_conversations(client: PlainClient, others: Sequence[PlainClient]) -> None:
    """A user's conversations are the same in its events, in history, and for the others in them."""
    answer = await client.history.ListConversations(
        history.ListConversationsRequest(), metadata=client.metadata
    )
    events = client.ledger.events
    assert {c.conversation_id for c in answer.conversations} == {
        event.message.ref.conversation_id for event in events if is_message(event)
    }
    state = reactions(events)
    for one in answer.conversations:
        shown = conversation(events, one.conversation_id)
        listed = await all_messages(client, by_id(one.conversation_id), page_size=500)
        assert [item.message for item in listed] == shown
        for item in listed:
            stored = {(user, reaction.key) for reaction in item.reactions for user in reaction.user_ids}
            at = sort_key(item.message.ref)
            assert stored == {
                (user, key) for (message, user, key), there in state.items() if message == at and there
            }
        for other in others:
            if other.user_id in one.participant_ids:
                assert conversation(other.ledger.events, one.conversation_id) == shown
        told = marks(events)
        for peer in one.peer_marks:
            if peer.HasField("read_through") and len(one.participant_ids) <= 16:
                at_mark = told.get(("read_mark", one.conversation_id, peer.user_id))
                assert at_mark == sort_key(peer.read_through)


@pytest.mark.timeout(180)
async def test_an_id_stands_for_one_payload_over_a_restart(tmp_path: Path) -> None:
    """What was accepted before a kill: tried again it is told once; with another payload the first stands."""
    with CellProcess(tmp_path) as cell:
        client_of = ClientOf(cell)
        async with client_of("ann") as ann, client_of("bob") as bob:
            first = await ann.send("first", ["bob"], "one-id")
            await asyncio.to_thread(cell.kill)
            await asyncio.to_thread(cell.start)
            await ann.done(text_message("first", ["bob"], "one-id"))
            other = await ann.do(text_message("second", ["bob"], "one-id"))
            refused = [other.rejected] if other.rejected else ann.conflicts
            await ann.until(lambda: bool(refused), "the conflict")
            assert refused[0].reason == messaging.REJECTED_REASON_MESSAGE_ID_CONFLICT
            assert refused[0].message_id == "one-id"
            fence = await ann.send("fence", ["bob"])
            for client in (ann, bob):
                await client.message("ann", fence.ref.message_id)
                assert [event.message for event in client.ledger.events] == [first, fence]


@pytest.mark.timeout(180)
async def test_a_conflict_that_no_memory_knows_is_told_when_it_is_found(tmp_path: Path) -> None:
    """Another payload under an id of before the kill: the first stands, and the sender's streams are told (R3)."""
    with CellProcess(tmp_path) as cell:
        client_of = ClientOf(cell)
        async with client_of("ann") as ann, client_of("ann", "subscribe") as browser, client_of("bob") as bob:
            first = await ann.send("first", ["bob"], "one-id")
            await asyncio.to_thread(cell.kill)
            await asyncio.to_thread(cell.start)
            await browser.until_resumed()
            submission = await ann.do(text_message("second", ["bob"], "one-id"))
            if submission.accepted:
                await ann.until(lambda: bool(ann.conflicts), "the conflict")
                await browser.until(lambda: bool(browser.conflicts), "the conflict")
                assert {c.message_id for c in [*ann.conflicts, *browser.conflicts]} == {"one-id"}
            fence = await ann.send("fence", ["bob"])
            for client in (ann, browser, bob):
                await client.message("ann", fence.ref.message_id)
                assert [event.message for event in client.ledger.events] == [first, fence]
