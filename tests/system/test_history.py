"""History at any point in time between two users among 10,000 messages, paged both ways, each once.

The clock of one server never gives the same microsecond twice (it counts on from the last), so messages of one
microsecond do not come about here: the tests of the store show that pages are stable among those. Here many
are in consecutive microseconds.
"""

import random
from collections.abc import Iterator
from itertools import pairwise

import grpc
import pytest

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from check.history_pages import all_messages, by_id, messages_at_least, with_users
from check.ledger import conversation, microseconds, sort_key
from check.plain_client import PlainClient
from check.plain_outbox import text_message
from tests.system.cell_process import CellProcess, token

COUNT = 10_000
OLDER, NEWER, AROUND = history.DIRECTION_OLDER, history.DIRECTION_NEWER, history.DIRECTION_AROUND

pytestmark = pytest.mark.timeout(240)

Refs = list[messaging.MessageRef]


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CellProcess]:
    """A cell that takes all at once."""
    folder, settings = (
        tmp_path_factory.mktemp("history"),
        {"max_sends_per_second": 100_000, "max_in_flight": 4_096},
    )
    with CellProcess(folder, settings) as running:
        yield running


@pytest.fixture(scope="module")
def written() -> Refs:
    """Filled by `talk`: the conversation in its order."""
    return []


async def talk(cell: CellProcess, written: Refs) -> tuple[PlainClient, Refs]:
    """A client of one of the two, and the conversation of 10,000, which the first test to ask has them write."""
    ann = PlainClient(cell.address, "ann", token, resume_after=None if written else "")
    ann.start()
    if not written:
        async with PlainClient(cell.address, "bob", token) as bob:
            submissions = [
                writer.submit(text_message(str(n), [peer]))
                for n in range(COUNT // 2)
                for writer, peer in ((ann, "bob"), (bob, "ann"))
            ]
            await ann.settle(*submissions[::2])
            await bob.settle(*submissions[1::2])
            assert all(submission.accepted for submission in submissions)
            events = await ann.until_events(COUNT)
            shown = conversation(events, events[0].message.ref.conversation_id)
            stored = await messages_at_least(ann, with_users("bob"), COUNT)
            assert [item.message for item in stored] == shown
            written += [message.ref for message in shown]
    return ann, written


async def page(client: PlainClient, **request: object) -> history.ListMessagesResponse:
    answer: history.ListMessagesResponse = await client.history.ListMessages(
        history.ListMessagesRequest(conversation=with_users("bob"), **request),  # type: ignore[arg-type]
        metadata=client.metadata,
    )
    return answer


def refs(answer: history.ListMessagesResponse) -> Refs:
    return [item.message.ref for item in answer.messages]


def at_us(time_us: int) -> "dict[str, object]":
    request = history.ListMessagesRequest()
    request.time.FromMicroseconds(time_us)
    return {"time": request.time}


def moments(chance: random.Random, written: Refs, count: int) -> list[int]:
    """Random times from just before the first message to just after the last; half of them exactly a message's own."""
    first, last = microseconds(written[0]), microseconds(written[-1])
    between = [chance.randrange(first - 10, last + 10) for _ in range(count // 2)]
    return between + [microseconds(chance.choice(written)) for _ in range(count - len(between))]


async def test_ten_thousand_are_written(cell: CellProcess, written: Refs) -> None:
    """Two users, 10,000 messages: stream and history have the same, in the same order, many within a few microseconds."""
    ann, written = await talk(cell, written)
    assert len({sort_key(ref) for ref in written}) == COUNT
    near = sum(microseconds(b) - microseconds(a) <= 1 for a, b in pairwise(written))
    print(f"{near} of {COUNT} in the microsecond after the one before")
    await ann.close()


async def test_a_page_at_a_random_time(cell: CellProcess, written: Refs) -> None:
    """OLDER is strictly before a time, NEWER at or after it, AROUND half of each; tokens go on both ways."""
    ann, written = await talk(cell, written)
    chance = random.Random(11)
    times = [microseconds(ref) for ref in written]
    for time_us in moments(chance, written, 40):
        at = sum(t < time_us for t in times)
        size = chance.choice([1, 2, 3, 50, 499, 500])
        older = await page(ann, direction=OLDER, page_size=size, **at_us(time_us))
        assert refs(older) == written[max(0, at - size) : at]
        newer = await page(ann, direction=NEWER, page_size=size, **at_us(time_us))
        assert refs(newer) == written[at : at + size]
        around = refs(await page(ann, direction=AROUND, page_size=size, **at_us(time_us)))
        assert around == sorted(around, key=sort_key)
        where = written.index(around[0])
        assert around == written[where : where + len(around)]
        assert len(around) <= size
        if size <= at <= COUNT - size:
            assert len(around) == size
            assert abs(sum(microseconds(ref) < time_us for ref in around) - size / 2) <= 1
        if older.messages and older.older_page_token:
            before = await page(ann, page_token=older.older_page_token, page_size=size)
            assert refs(before) == written[max(0, at - 2 * size) : max(0, at - size)]
        if older.messages:
            back = await page(ann, page_token=older.newer_page_token, page_size=size)
            assert refs(back) == written[at : at + size]
        if newer.messages:
            after = await page(ann, page_token=newer.newer_page_token, page_size=size)
            assert refs(after) == written[at + size : at + 2 * size]
    await ann.close()


async def test_from_a_random_time_to_both_ends(cell: CellProcess, written: Refs) -> None:
    """Paged from one time to both ends, with pages of changing size, each message comes once."""
    ann, written = await talk(cell, written)
    chance = random.Random(12)
    for time_us in moments(chance, written, 4):
        for anchor in (at_us(time_us), {"message": written[chance.randrange(COUNT)]}):
            older = await page(ann, direction=OLDER, page_size=500, **anchor)
            newer = await page(ann, direction=NEWER, page_size=500, **anchor)
            before, after = refs(older), refs(newer)
            while older.older_page_token:
                older = await page(
                    ann, page_token=older.older_page_token, page_size=chance.randrange(100, 500)
                )
                before = refs(older) + before
            while newer.messages:
                newer = await page(
                    ann, page_token=newer.newer_page_token, page_size=chance.randrange(100, 500)
                )
                after += refs(newer)
            itself = [anchor["message"]] if "message" in anchor else []
            assert [*before, *itself, *after] == written
    await ann.close()


async def test_around_a_message_includes_it(cell: CellProcess, written: Refs) -> None:
    """OLDER is strictly before a message, NEWER strictly after, AROUND has it; one that does not exist is a place."""
    ann, written = await talk(cell, written)
    chance = random.Random(13)
    for _ in range(15):
        at, size = chance.randrange(COUNT), chance.randrange(1, 60)
        ref = written[at]
        assert (
            refs(await page(ann, direction=OLDER, page_size=size, message=ref))
            == written[max(0, at - size) : at]
        )
        assert (
            refs(await page(ann, direction=NEWER, page_size=size, message=ref))
            == written[at + 1 : at + 1 + size]
        )
        around = refs(await page(ann, direction=AROUND, page_size=size, message=ref))
        assert ref in around
        where = written.index(around[0])
        assert around == written[where : where + len(around)]
        nobody = messaging.MessageRef()
        nobody.CopyFrom(ref)
        nobody.message_id = ref.message_id + "-"  # sorts right after it
        assert refs(await page(ann, direction=OLDER, page_size=2, message=nobody))[-1:] == [ref]
        assert refs(await page(ann, direction=NEWER, page_size=2, message=nobody)) == written[at + 1 : at + 3]
    await ann.close()


async def test_both_ends_and_what_has_come_since(cell: CellProcess, written: Refs) -> None:
    """Without an anchor a page is at an end; at the newest end the token gives what has come since; sizes are coerced."""
    ann, written = await talk(cell, written)
    assert refs(await page(ann)) == written[-50:]
    assert refs(await page(ann, page_size=100_000)) == written[-500:]
    oldest = await page(ann, direction=NEWER, page_size=3)
    assert refs(oldest) == written[:3]
    assert oldest.older_page_token == "" or not refs(await page(ann, page_token=oldest.older_page_token))
    newest = await page(ann, page_size=3)
    assert refs(await page(ann, page_token=newest.newer_page_token)) == []
    for name in (by_id(written[0].conversation_id), with_users("bob"), with_users("bob", "ann")):
        assert [m.message.ref for m in await all_messages(ann, name, page_size=500)] == written
    await ann.until_resumed()
    last = await ann.send("since", ["bob"])
    written.append(last.ref)
    await messages_at_least(ann, with_users("bob"), len(written))
    assert refs(await page(ann, page_token=newest.newer_page_token)) == [last.ref]
    await ann.close()


async def test_only_participants_read(cell: CellProcess, written: Refs) -> None:
    """To anyone else the conversation does not exist, by whichever way it is asked for."""
    ann, written = await talk(cell, written)
    await ann.close()
    async with PlainClient(cell.address, "eve", token) as eve:
        name = by_id(written[0].conversation_id)
        asked = [
            eve.history.ListMessages(history.ListMessagesRequest(conversation=name), metadata=eve.metadata),
            eve.history.GetConversation(
                history.GetConversationRequest(conversation=name), metadata=eve.metadata
            ),
        ]
        nowhere = by_id("A" * 22)
        unknown = [
            eve.history.ListMessages(
                history.ListMessagesRequest(conversation=nowhere), metadata=eve.metadata
            ),
            eve.history.GetConversation(
                history.GetConversationRequest(conversation=nowhere), metadata=eve.metadata
            ),
        ]
        told = []
        for call in [*asked, *unknown]:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND
            told.append(caught.value.details())
        assert told[:2] == told[2:]
        got = await eve.history.GetMessages(
            history.GetMessagesRequest(messages=written[:3]), metadata=eve.metadata
        )
        assert list(got.messages) == []
