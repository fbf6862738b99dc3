"""The client and a real cell: what it says, what it survives. Kills are kill -9."""

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from messaging_client import (
    CallFailed,
    Client,
    ClientSettings,
    Content,
    ConversationKind,
    FileStore,
    HistoryMessage,
    NewMessage,
    NotDone,
    ReactionChanged,
    ReadMark,
    Reason,
    ReceivedMark,
    Started,
)
from tests.system.cell_process import CellProcess, token

LONG_S = 90.0
PATIENT = ClientSettings(backoff_s=0.2, max_backoff_s=1.0)


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CellProcess]:
    with CellProcess(tmp_path_factory.mktemp("cell")) as running:
        yield running


def client_of(cell: CellProcess, user_id: str, store: FileStore | None = None) -> Client:
    return Client(cell.address, token(user_id), settings=PATIENT, store=store)


async def until_message(client: Client, text: str) -> NewMessage:
    async for event in client.events():
        if isinstance(event, NewMessage) and event.message.text == text:
            return event
    raise AssertionError("the client was closed")


@pytest.mark.timeout(180)
async def test_a_conversation_with_everything_in_it(cell: CellProcess) -> None:
    """Messages, replies, reactions, marks, unread counts, data and attributes, seen by both."""
    async with client_of(cell, "ann") as ann, client_of(cell, "ben") as ben:
        await ben.online()
        await ann.send(Content(text="hello", attributes={"mood": "good"}), to="ben")
        hello = (await until_message(ben, "hello")).message
        assert hello.content.attributes == {"mood": "good"}
        assert hello.sender_id == "ann"
        await ann.send("more", to="ben")
        await until_message(ben, "more")
        async with asyncio.timeout(LONG_S):
            while (await ben.conversation(to="ann")).unread_count != 2:
                await asyncio.sleep(0.05)
        await ben.react(hello, "👍", participants=["ann"])
        await ben.reply(hello, Content(data=b"\x00\x01", content_type="application/octet-stream"))
        await ben.mark_read(hello, participants=["ann"])
        kinds: set[type] = set()
        async for event in ann.events():
            kinds.add(type(event))
            if isinstance(event, NewMessage) and event.message.reply_to:
                assert event.message.reply_to == hello.ref
                assert event.message.content.data == b"\x00\x01"
            if isinstance(event, ReactionChanged):
                assert (event.user_id, event.key, event.removed) == ("ben", "👍", False)
            if kinds >= {NewMessage, ReactionChanged, ReadMark, ReceivedMark}:
                break
        await ben.unreact(hello, "👍")
        async with asyncio.timeout(LONG_S):
            while (await ben.messages([hello]))[0].reactions:
                await asyncio.sleep(0.05)
        async with asyncio.timeout(LONG_S):
            while (conversation := await ben.conversation(to="ann")).read_through is None:
                await asyncio.sleep(0.05)
        assert conversation.conversation_id == hello.conversation_id
        assert conversation.kind == ConversationKind.DIRECT
        assert conversation.participant_ids == ("ann", "ben")
        assert conversation.unread_count == 1


@pytest.mark.timeout(180)
async def test_history_both_ways_and_around(cell: CellProcess) -> None:
    """Backwards from the newest, forwards from a message or a time, a page around, and on from its tokens."""
    async with client_of(cell, "historian") as client:
        texts = [str(n) for n in range(250)]
        for text in texts:
            await client.send(text, to="historian")

        async def stored() -> list[HistoryMessage]:
            return [message async for message in client.history(to="historian")]

        async with asyncio.timeout(LONG_S):
            while len(backwards := await stored()) < len(texts):
                await asyncio.sleep(0.1)
        assert [each.message.text for each in reversed(backwards)] == texts
        tenth = backwards[-10].message
        forwards = client.history(to="historian", after=tenth)
        assert [each.message.text async for each in forwards] == texts[10:]
        since = client.history(to="historian", after=tenth.sent_at)
        assert [each.message.text async for each in since] == texts[9:]
        before = client.history(to="historian", before=tenth.sent_at)
        assert [each.message.text async for each in before] == texts[8::-1]
        page = await client.history_page(to="historian", around=tenth, size=10)
        assert tenth.text in [each.message.text for each in page.messages]
        older = await client.history_page(to="historian", token=page.older, size=3)
        newer = await client.history_page(to="historian", token=page.newer, size=3)
        around = [each.message.text for each in (*older.messages, *page.messages, *newer.messages)]
        start = texts.index(around[0])
        assert around == texts[start : start + 16]
        nothing = client.history(to="historian", before=tenth.sent_at - timedelta(days=1))
        assert [each async for each in nothing] == []


async def test_refusals_name_what_is_wrong(cell: CellProcess) -> None:
    """A wrong command is NotDone and a wrong question CallFailed, each with reason and field."""
    async with client_of(cell, "careless") as client:
        with pytest.raises(NotDone) as empty:
            await client.send("", to="ben")
        assert (empty.value.reason, empty.value.field) == (Reason.INVALID_FIELD, "content.text")
        with pytest.raises(NotDone) as nowhere:
            await client.send("hi", conversation_id="C" * 22)
        assert nowhere.value.reason is Reason.NOT_FOUND
        with pytest.raises(CallFailed) as unknown:
            await client.conversation(conversation_id="C" * 22)
        assert unknown.value.reason is Reason.NOT_FOUND
        with pytest.raises(CallFailed) as page:
            await client.history_page(to="careless", token="no token")
        assert page.value.reason is Reason.INVALID_FIELD
        assert page.value.field == "page_token"


@pytest.mark.timeout(300)
async def test_a_cell_that_is_killed_while_clients_send(tmp_path: Path) -> None:
    """Kill -9 and restart, three times: every send is accepted, each message is there once, in the order sent."""
    count, peers = 240, ["p0", "p1", "p2", "p3"]
    with CellProcess(tmp_path / "cell") as cell:
        async with client_of(cell, "sender") as sender, client_of(cell, "p0") as reader:
            await asyncio.gather(sender.online(), reader.online())

            async def send_all(peer: str) -> None:
                for n in range(count // len(peers)):
                    await sender.send(f"{peer} {n}", to=peer, timeout_s=LONG_S)
                    await asyncio.sleep(0.02)

            sending = asyncio.gather(*(send_all(peer) for peer in peers))
            for _ in range(3):
                await asyncio.sleep(random.uniform(0.1, 0.5))
                cell.kill()
                await asyncio.to_thread(cell.start)
            await sending
            wanted = [f"p0 {n}" for n in range(count // len(peers))]
            got: list[str] = []
            async for event in reader.events():
                if isinstance(event, NewMessage):
                    got.append(event.message.text)
                if len(got) == len(wanted):
                    break
            assert got == wanted
            for peer in peers:
                async with asyncio.timeout(LONG_S):
                    while len(texts := await texts_of(sender, peer)) < len(wanted):
                        await asyncio.sleep(0.1)
                assert texts == [f"{peer} {n}" for n in range(count // len(peers))]


@pytest.mark.timeout(180)
async def test_what_was_received_before_a_break_is_told_after_it(tmp_path: Path) -> None:
    """The stream that brought a message is gone before it was acknowledged: its sender is told all the same."""
    settings = replace(PATIENT, acknowledges=False)
    with CellProcess(tmp_path / "cell") as cell:
        reader = Client(cell.address, token("reader"), settings=settings)
        async with client_of(cell, "writer") as writer, reader:
            await reader.online()
            await writer.send("one", to="reader")
            await writer.send("two", to="reader")
            two = await until_message(reader, "two")
            await asyncio.to_thread(cell.kill)
            await asyncio.to_thread(cell.start)
            await writer.send("fence", to="reader", timeout_s=LONG_S)
            await until_message(reader, "fence")
            reader.acknowledge(two)
            async with asyncio.timeout(LONG_S):
                async for event in writer.events():
                    if isinstance(event, ReceivedMark):
                        assert (event.user_id, event.through) == ("reader", two.message.ref)
                        break


async def texts_of(client: Client, peer: str) -> list[str]:
    try:
        messages = [each async for each in client.history(to=peer)]
    except CallFailed as failed:
        assert failed.reason is Reason.NOT_FOUND  # noqa: PT017 - history lags
        return []
    return [each.message.text for each in reversed(messages)]


APPLICATION = """
import asyncio, sys
from messaging_client import Client, ClientSettings, FileStore, NewMessage, Started

async def main(address, token, store, first):
    settings = ClientSettings(backoff_s=0.1, max_backoff_s=0.5)
    async with Client(address, token, store=FileStore(store), settings=settings) as client:
        async def post():
            for n in range(int(first), int(first) + 100_000):
                await client.post(f"number {n}", to="watcher")
                print("posted", n, flush=True)
                await asyncio.sleep(0.002)
        posting = asyncio.create_task(post())
        async for event in client.events():
            if isinstance(event, Started):
                await client.confirm()
                print("started", flush=True)
            if isinstance(event, NewMessage) and not event.mine:
                print("took", event.message.text, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.timeout(300)
async def test_an_application_that_is_killed_again_and_again(cell: CellProcess, tmp_path: Path) -> None:
    """What `post` has returned is sent exactly once; every event is handed over at least once, in order."""
    script, store, output = tmp_path / "application.py", tmp_path / "client.db", tmp_path / "output"
    script.write_text(APPLICATION)
    first = 0
    async with client_of(cell, "watcher") as watcher:
        await watcher.online()
        for round_number in range(5):
            process = run(script, output, cell.address, token("killed"), str(store), str(first))
            try:
                await wait_for_posts(output, first)
                for n in range(20):
                    await watcher.send(f"{round_number} {n}", to="killed")
                await asyncio.sleep(random.uniform(0.0, 0.3))
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
            first = (round_number + 1) * 100_000
        posted = lines(output, "posted")
        assert len(posted) > 5
        taken: list[str] = []
        async with client_of(cell, "killed", FileStore(store)) as heir:
            assert await heir.flush(LONG_S)
            await watcher.send("the end", to="killed")
            async for event in heir.events():
                if isinstance(event, NewMessage) and not event.mine:
                    taken.append(event.message.text)
                    if event.message.text == "the end":
                        break
        sent: Counter[str] = Counter()
        await watcher.send("last", to="watcher")
        async for event in watcher.events():
            if isinstance(event, NewMessage):
                if event.message.text == "last":
                    break
                if event.message.sender_id == "killed":
                    sent[event.message.text.removeprefix("number ")] += 1
        assert set(sent.values()) == {1}, "each exactly once"
        assert set(posted) <= set(sent), "nothing that was promised is missing"
        told = [f"{round_number} {n}" for round_number in range(5) for n in range(20)]
        seen = lines(output, "took") + taken
        assert list(dict.fromkeys(seen))[:-1] == told, "each at least once, first in order"


def run(script: Path, output: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Run it; the line in which a kill cut off the run before is dropped, so that nothing is joined to it."""
    with output.open("ab") as out:
        out.truncate(output.read_bytes().rfind(b"\n") + 1)
        return subprocess.Popen([sys.executable, str(script), *arguments], stdout=out)


async def wait_for_posts(output: Path, first: int) -> None:
    async with asyncio.timeout(LONG_S):
        while not lines(output, "started") or not any(int(n) >= first + 3 for n in lines(output, "posted")):
            await asyncio.sleep(0.02)


def lines(output: Path, word: str) -> list[str]:
    text = output.read_text() if output.exists() else ""
    whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [line.strip().removeprefix(word + " ") for line in whole if line.startswith(word)]


@pytest.mark.timeout(180)
async def test_a_client_that_comes_back_gets_what_it_missed(cell: CellProcess, tmp_path: Path) -> None:
    """With a store the second start is no snapshot: it goes on behind the last event that was taken."""
    store = tmp_path / "client.db"
    async with client_of(cell, "away") as other, client_of(cell, "back", FileStore(store)) as client:
        await client.online()
        await other.send("1", to="back")
        await other.send("2", to="back")
        events = client.events()
        got = [await anext(events) for _ in range(3)]
        assert [event.message.text for event in got if isinstance(event, NewMessage)] == ["1", "2"]
    async with client_of(cell, "away") as other:
        await other.send("3", to="back")
    async with client_of(cell, "back", FileStore(store)) as client:
        again = await anext(client.events())
        assert not isinstance(again, Started)
        await until_message(client, "3")
