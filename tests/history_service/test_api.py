"""The History API over real gRPC connections."""

import random
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf import timestamp_pb2
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from history_service.port import HistoryStore, MessageKey, StoreUnavailable
from history_service.settings import HistorySettings
from messaging_core.cursor import Cursor, decode_cursor, incarnation_bytes
from messaging_core.ids import conversation_id
from tests.history_service.commands import (
    USERS,
    Command,
    chances,
    commands,
    events_of,
    gaps_of,
    is_mark,
    marks_of,
    written,
)
from tests.history_service.serving import Served, error_info, of, served
from tests.history_service.written import WrittenLog, key_of, reference

PAIR = conversation_id(["ann", "bob"])
NAMED = history.ConversationName(conversation_id=PAIR)
METHODS: dict[str, type[Message]] = {
    "ListMessages": history.ListMessagesRequest,
    "GetMessages": history.GetMessagesRequest,
    "ListConversations": history.ListConversationsRequest,
    "GetConversation": history.GetConversationRequest,
    "ListEvents": history.ListEventsRequest,
}


@pytest.fixture
async def cell() -> AsyncIterator[Served]:
    async with served() as opened:
        yield opened


def with_users(users: Iterable[str]) -> history.ConversationName:
    name = history.ConversationName()
    getattr(name, "with").SetInParent()
    getattr(name, "with").user_ids.extend(users)
    return name


def at(sent_at_us: int, nanos: int = 0) -> timestamp_pb2.Timestamp:
    time = timestamp_pb2.Timestamp()
    time.FromMicroseconds(sent_at_us)
    time.nanos += nanos
    return time


def keys_of(page: history.ListMessagesResponse) -> list[MessageKey]:
    return [key_of(shown.message.ref) for shown in page.messages]


async def page_through(
    cell: Served,
    first: history.ListMessagesRequest,
    older: bool,
    sizes: Sequence[int] = (500,),
    user: str = "ann",
) -> list[MessageKey]:
    """All messages that paging one way gives, in order."""
    request, found, number = first, list[MessageKey](), 0
    while True:
        page = await cell.stub.ListMessages(request, metadata=of(user))
        keys = keys_of(page)
        assert keys == sorted(keys)
        found = keys + found if older else found + keys
        token = page.older_page_token if older else page.newer_page_token
        if not (token if older else keys):
            return found
        number += 1
        request = history.ListMessagesRequest(
            conversation=first.conversation, page_token=token, page_size=sizes[number % len(sizes)]
        )


async def refusal(cell: Served, method: str, request: Message, user: str = "ann") -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(cell.stub, method)(request, metadata=of(user))
    return caught.value


class TestEveryCall:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize(
        "metadata", [(), (("authorization", "Basic x"),), (("authorization", "Bearer x"),)]
    )
    async def test_needs_a_token(self, cell: Served, method: str, metadata: Any) -> None:
        """A call without an access token that holds is UNAUTHENTICATED, whatever else it asks."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(cell.stub, method)(METHODS[method](), metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert error_info(caught.value).reason == "TOKEN_INVALID"

    @pytest.mark.parametrize("method", METHODS)
    async def test_must_parse(self, cell: Served, method: str) -> None:
        """Bytes that are not a request are INVALID_ARGUMENT, and the answer tells nothing of the program."""
        call: Any = cell.channel.unary_unary(f"/cell.history.v1.HistoryService/{method}")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\xff\xff\xff", metadata=of("ann"))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == "the request does not parse"

    @pytest.mark.parametrize(
        ("method", "request_"),
        [
            ("ListMessages", history.ListMessagesRequest(conversation=NAMED)),
            ("GetConversation", history.GetConversationRequest(conversation=NAMED)),
        ],
    )
    async def test_shows_a_conversation_to_participants_only(
        self, cell: Served, method: str, request_: Message
    ) -> None:
        """To others a conversation that exists looks like one that does not."""
        absent = await refusal(cell, method, request_, "eve")
        cell.made.message("ann", ["bob"], "m1", 7)
        await cell.made.store_all(cell.store)
        hidden = await refusal(cell, method, request_, "eve")
        assert absent.code() is hidden.code() is grpc.StatusCode.NOT_FOUND
        assert absent.details() == hidden.details()
        assert error_info(absent) == error_info(hidden)
        await getattr(cell.stub, method)(request_, metadata=of("bob"))

    async def test_says_unavailable_while_the_store_is_away(self) -> None:
        """A store that cannot answer is UNAVAILABLE with the time to try again, and not what is wrong inside."""

        class Away(HistoryStore):
            async def _away(self, *_: Any, **__: Any) -> Any:
                raise StoreUnavailable("secret.db: disk I/O error")

            write = register = participants = persisted = events = messages = _away
            named_messages = overviews = overview = _away

            async def close(self) -> None:
                pass

        async with served(store=Away()) as cell:
            error = await refusal(cell, "ListConversations", history.ListConversationsRequest())
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert "secret" not in str(error.details())
            assert error_info(error).reason == "UNAVAILABLE"

    @pytest.mark.parametrize(
        ("method", "request_", "field"),
        [
            ("ListMessages", history.ListMessagesRequest(), "conversation"),
            (
                "ListMessages",
                history.ListMessagesRequest(conversation=history.ConversationName(conversation_id="x")),
                "conversation.conversation_id",
            ),
            ("ListMessages", history.ListMessagesRequest(conversation=NAMED, page_size=-1), "page_size"),
            ("ListMessages", history.ListMessagesRequest(conversation=NAMED, page_token="x"), "page_token"),
            (
                "ListMessages",
                history.ListMessagesRequest(conversation=NAMED, page_token="é" * 9),
                "page_token",
            ),
            (
                "ListMessages",
                history.ListMessagesRequest(conversation=NAMED, page_token="A" * 2000),
                "page_token",
            ),
            ("ListMessages", history.ListMessagesRequest(conversation=NAMED, direction=9), "direction"),  # type: ignore[arg-type]
            (
                "ListMessages",
                history.ListMessagesRequest(conversation=NAMED, direction=history.DIRECTION_AROUND),
                "anchor",
            ),
            (
                "ListMessages",
                history.ListMessagesRequest(conversation=NAMED, time=timestamp_pb2.Timestamp(nanos=-1)),
                "time",
            ),
            (
                "ListMessages",
                history.ListMessagesRequest(conversation=NAMED, time=timestamp_pb2.Timestamp(seconds=2**62)),
                "time",
            ),
            (
                "ListMessages",
                history.ListMessagesRequest(conversation=NAMED, message=messaging.MessageRef()),
                "message.conversation_id",
            ),
            (
                "ListMessages",
                history.ListMessagesRequest(conversation=NAMED, message=reference(["x", "y"], "x", "m", 1)),
                "message.conversation_id",
            ),
            (
                "ListMessages",
                history.ListMessagesRequest(
                    conversation=NAMED, message=messaging.MessageRef(conversation_id=PAIR)
                ),
                "message.sender_id",
            ),
            (
                "ListMessages",
                history.ListMessagesRequest(
                    conversation=NAMED, message=messaging.MessageRef(conversation_id=PAIR, sender_id="ann")
                ),
                "message.message_id",
            ),
            (
                "ListMessages",
                history.ListMessagesRequest(
                    conversation=NAMED,
                    message=messaging.MessageRef(conversation_id=PAIR, sender_id="ann", message_id="m"),
                ),
                "message.sent_at",
            ),
            (
                "ListMessages",
                history.ListMessagesRequest(
                    conversation=NAMED,
                    message=messaging.MessageRef(
                        conversation_id=PAIR, sender_id="ann", message_id="m", sent_at=at(1, 1)
                    ),
                ),
                "message.sent_at",
            ),
            ("GetConversation", history.GetConversationRequest(), "conversation"),
            (
                "GetConversation",
                history.GetConversationRequest(conversation=with_users([])),
                "conversation.with.user_ids",
            ),
            (
                "GetConversation",
                history.GetConversationRequest(conversation=with_users(["a", "b c"])),
                "conversation.with.user_ids[1]",
            ),
            (
                "GetConversation",
                history.GetConversationRequest(conversation=with_users(["a", "a"])),
                "conversation.with.user_ids[1]",
            ),
            ("GetMessages", history.GetMessagesRequest(), "messages"),
            (
                "GetMessages",
                history.GetMessagesRequest(messages=[reference(["a"], "a", "m", 1), messaging.MessageRef()]),
                "messages[1].conversation_id",
            ),
            ("ListConversations", history.ListConversationsRequest(page_size=-5), "page_size"),
            ("ListConversations", history.ListConversationsRequest(page_token="AAAA"), "page_token"),
            ("ListEvents", history.ListEventsRequest(page_size=-5), "page_size"),
        ],
    )
    async def test_names_the_field_that_is_wrong(
        self, cell: Served, method: str, request_: Message, field: str
    ) -> None:
        """A bad field is INVALID_ARGUMENT with INVALID_FIELD and its path."""
        cell.made.message("ann", ["bob"], "m1", 7)
        await cell.made.store_all(cell.store)
        error = await refusal(cell, method, request_)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        info = error_info(error)
        assert (info.reason, info.metadata["field"]) == ("INVALID_FIELD", field)
        assert field.split("[")[0] in str(error.details())

    async def test_names_the_limit_that_was_passed(self, cell: Served) -> None:
        """More than the limit is INVALID_ARGUMENT too, with the reason that sends have for it, and the limit."""
        users = history.GetConversationRequest(conversation=with_users(map(str, range(11))))
        names = history.GetMessagesRequest(messages=[reference(["a"], "a", "m", 1)] * 101)
        for method, request_, reason, field, limit in (
            ("GetConversation", users, "TOO_MANY_RECIPIENTS", "conversation.with.user_ids", "10"),
            ("GetMessages", names, "TOO_LARGE", "messages", "100"),
        ):
            error = await refusal(cell, method, request_)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            info = error_info(error)
            assert (info.reason, info.metadata["field"], info.metadata["limit"]) == (reason, field, limit)


class TestListMessages:
    @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
    @given(
        times=st.lists(st.integers(1, 5), min_size=1, max_size=40),
        point=st.integers(0, 6),
        sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    )
    async def test_paging_both_ways_gives_each_once(
        self, times: list[int], point: int, sizes: list[int]
    ) -> None:
        """From any time, with any page sizes, the pages before and after it hold each message once, in order."""
        async with served() as cell:
            refs = [
                cell.made.message(("ann", "bob")[n % 2], ["ann", "bob"], f"m{n}", time)
                for n, time in enumerate(times)
            ]
            await cell.made.store_all(cell.store)
            keys = sorted(map(key_of, refs))
            ask = history.ListMessagesRequest(conversation=NAMED, page_size=sizes[0], time=at(point))
            older = await page_through(cell, ask, True, sizes)
            ask.direction = history.DIRECTION_NEWER
            newer = await page_through(cell, ask, False, sizes)
            assert older == [key for key in keys if key.sent_at_us < point]
            assert older + newer == keys
            ask.direction = history.DIRECTION_AROUND
            around = await cell.stub.ListMessages(ask, metadata=of("ann"))
            before, after = sizes[0] // 2, sizes[0] - sizes[0] // 2
            assert keys_of(around) == older[len(older) - min(before, len(older)) :] + newer[:after]
            assert bool(around.older_page_token) == (len(older) > before)
            if around.older_page_token:
                ask = history.ListMessagesRequest(conversation=NAMED, page_token=around.older_page_token)
                assert await page_through(cell, ask, True) == older[: len(older) - before]

    async def test_ten_thousand_messages(self, cell: Served) -> None:
        """History from random points of time among 10,000 messages, many in one microsecond: each message once."""
        chance = random.Random(5)
        refs = [
            cell.made.message(
                chance.choice(("ann", "bob")), ["ann", "bob"], f"m{n}", chance.randrange(1, 400)
            )
            for n in range(10_000)
        ]
        await cell.made.store_all(cell.store)
        keys = sorted(map(key_of, refs))
        for _ in range(4):
            anchor = chance.choice(refs)
            sizes = [chance.randrange(150, 501) for _ in range(5)]
            ask = history.ListMessagesRequest(conversation=NAMED, page_size=sizes[0], message=anchor)
            older = await page_through(cell, ask, True, sizes, "bob")
            ask.direction = history.DIRECTION_NEWER
            newer = await page_through(cell, ask, False, sizes, "bob")
            assert [*older, key_of(anchor), *newer] == keys
            ask = history.ListMessagesRequest(
                conversation=NAMED, page_size=100, time=anchor.sent_at, direction=history.DIRECTION_AROUND
            )
            around = keys_of(await cell.stub.ListMessages(ask, metadata=of("ann")))
            middle = sum(key.sent_at_us < key_of(anchor).sent_at_us for key in keys)
            assert around == keys[max(0, middle - 50) : middle + 50]

    async def test_the_newest_page_first(self, cell: Served) -> None:
        """Without an anchor one gets the newest; the page's newer token gives what has come since, again and again."""
        empty = history.ListMessagesRequest(conversation=NAMED, page_size=2)
        await cell.store.register(PAIR, ("ann", "bob"))
        page = await cell.stub.ListMessages(empty, metadata=of("ann"))
        assert (len(page.messages), page.older_page_token) == (0, "")
        seen: list[MessageKey] = []
        for number in range(5):
            for part in range(number % 3):
                cell.made.message("bob", ["ann"], f"m{number}-{part}", 10 + number)
            await cell.made.store_all(cell.store)
            ask = history.ListMessagesRequest(conversation=NAMED, page_token=page.newer_page_token)
            page = await cell.stub.ListMessages(ask, metadata=of("ann"))
            assert len(page.messages) == number % 3
            seen += keys_of(page)
        newest = await cell.stub.ListMessages(empty, metadata=of("ann"))
        assert keys_of(newest) == seen[-2:]
        oldest = history.ListMessagesRequest(
            conversation=NAMED, page_size=2, direction=history.DIRECTION_NEWER
        )
        assert keys_of(await cell.stub.ListMessages(oldest, metadata=of("ann"))) == seen[:2]

    async def test_an_anchor_between_two_microseconds(self, cell: Served) -> None:
        """A time with nanoseconds splits messages as it should: before it, and at or after it."""
        refs = [cell.made.message("ann", ["bob"], f"m{n}", n) for n in (5, 6)]
        await cell.made.store_all(cell.store)
        for nanos, before in ((0, 0), (1, 1), (999, 1)):
            ask = history.ListMessagesRequest(conversation=NAMED, time=at(5, nanos))
            assert keys_of(await cell.stub.ListMessages(ask, metadata=of("ann"))) == [
                key_of(r) for r in refs[:before]
            ]
            ask.direction = history.DIRECTION_NEWER
            assert keys_of(await cell.stub.ListMessages(ask, metadata=of("ann"))) == [
                key_of(r) for r in refs[before:]
            ]

    async def test_reactions_and_content_are_shown(self, cell: Served) -> None:
        """A message is as its event showed it, with the reactions in force as the caller sees them."""
        ref = cell.made.message("ann", ["bob"], "m1", 7, "naïve 🙂")
        cell.made.reaction("ann", ["ann", "bob"], ref, "🙂", False, "r1")
        cell.made.reaction("bob", ["ann", "bob"], ref, "🙂", False, "r1")
        cell.made.reaction("bob", ["ann", "bob"], ref, "+", False, "r2")
        cell.made.reaction("bob", ["ann", "bob"], ref, "+", True, "r3")
        await cell.made.store_all(cell.store)
        page = await cell.stub.ListMessages(
            history.ListMessagesRequest(conversation=NAMED), metadata=of("bob")
        )
        (shown,) = page.messages
        assert shown.message == messaging.Message(ref=ref, content=messaging.Content(text="naïve 🙂"))
        assert list(shown.reactions) == [
            history.Reaction(key="🙂", count=2, user_ids=["ann", "bob"], mine=True)
        ]
        assert (
            decode_cursor(page.persisted_cursor).offset
            == len(cell.made.records[cell.made.partition_of("bob")]) - 1
        )

    async def test_a_page_is_bounded_in_bytes(self) -> None:
        """Pages of large messages end early, near the anchor, and their tokens go on where they ended."""
        async with served(HistorySettings(max_page_bytes=5_000)) as cell:
            refs = [cell.made.message("ann", ["bob"], f"m{n}", n, "x" * 1_000) for n in range(1, 12)]
            refs.append(cell.made.message("ann", ["bob"], "large", 99, "x" * 9_000))
            await cell.made.store_all(cell.store)
            keys = list(map(key_of, refs))
            ask = history.ListMessagesRequest(conversation=NAMED)
            assert keys_of(await cell.stub.ListMessages(ask, metadata=of("ann"))) == keys[-1:]
            assert await page_through(cell, ask, True) == keys
            ask.direction = history.DIRECTION_NEWER
            assert await page_through(cell, ask, False) == keys
            ask = history.ListMessagesRequest(
                conversation=NAMED, message=refs[5], direction=history.DIRECTION_AROUND
            )
            around = await cell.stub.ListMessages(ask, metadata=of("ann"))
            assert keys_of(around) == keys[3:7]
            ask = history.ListMessagesRequest(conversation=NAMED, page_token=around.older_page_token)
            assert await page_through(cell, ask, True) == keys[:3]
            ask = history.ListMessagesRequest(conversation=NAMED, page_token=around.newer_page_token)
            assert await page_through(cell, ask, False) == keys[7:]

    async def test_a_token_is_good_for_its_request_only(self, cell: Served) -> None:
        """The token of another conversation, another user or another listing is refused as a bad page_token."""
        for number in range(3):
            cell.made.message("ann", ["bob"], f"m{number}", 7)
            cell.made.message("ann", ["cid"], f"c{number}", 7)
        await cell.made.store_all(cell.store)
        ask = history.ListMessagesRequest(conversation=NAMED, page_size=1)
        token = (await cell.stub.ListMessages(ask, metadata=of("ann"))).older_page_token
        conversations = await cell.stub.ListConversations(
            history.ListConversationsRequest(page_size=1), metadata=of("ann")
        )
        other = history.ConversationName(conversation_id=conversation_id(["ann", "cid"]))
        changed = token[:-1] + ("A" if token[-1] != "A" else "B")
        for user, request in (
            ("bob", history.ListMessagesRequest(conversation=NAMED, page_token=token)),
            ("ann", history.ListMessagesRequest(conversation=other, page_token=token)),
            (
                "ann",
                history.ListMessagesRequest(conversation=NAMED, page_token=conversations.next_page_token),
            ),
            ("ann", history.ListMessagesRequest(conversation=NAMED, page_token=changed)),
            ("ann", history.ListMessagesRequest(conversation=NAMED, page_token=token[:20])),
        ):
            error = await refusal(cell, "ListMessages", request, user)
            assert error_info(error).metadata["field"] == "page_token"
        error = await refusal(cell, "ListConversations", history.ListConversationsRequest(page_token=token))
        assert error_info(error).metadata["field"] == "page_token"

    async def test_page_sizes(self, cell: Served) -> None:
        """0 is 50, above 500 is 500."""
        for number in range(502):
            cell.made.message("ann", ["bob"], f"m{number}", 7)
        await cell.made.store_all(cell.store)
        for asked, shown in ((0, 50), (7, 7), (500, 500), (2**31 - 1, 500)):
            ask = history.ListMessagesRequest(conversation=NAMED, page_size=asked)
            assert len((await cell.stub.ListMessages(ask, metadata=of("ann"))).messages) == shown


class TestGetMessages:
    async def test_those_that_the_caller_may_see(self, cell: Served) -> None:
        """Messages come in the order asked for; absent ones and those of others' conversations are left out."""
        mine = [cell.made.message("ann", ["bob"], f"m{n}", n) for n in (1, 2, 3)]
        others = cell.made.message("cid", ["bob"], "secret", 4)
        absent = reference(["ann", "bob"], "ann", "never", 1)
        await cell.made.store_all(cell.store)
        ask = history.GetMessagesRequest(messages=[mine[2], others, absent, mine[0]])
        found = await cell.stub.GetMessages(ask, metadata=of("ann"))
        assert [shown.message.ref for shown in found.messages] == [mine[2], mine[0]]

    async def test_too_much_at_once(self) -> None:
        """What would not fit an answer is refused with the limit, not cut."""
        async with served(HistorySettings(max_page_bytes=5_000)) as cell:
            refs = [cell.made.message("ann", ["bob"], f"m{n}", n, "x" * 3_000) for n in (1, 2)]
            await cell.made.store_all(cell.store)
            error = await refusal(cell, "GetMessages", history.GetMessagesRequest(messages=refs))
            info = error_info(error)
            assert (info.reason, info.metadata["limit"]) == ("TOO_LARGE", "5000")
            ask = history.GetMessagesRequest(messages=refs[:1])
            assert len((await cell.stub.GetMessages(ask, metadata=of("ann"))).messages) == 1


class TestGetConversation:
    async def test_known_before_its_first_message(self, cell: Served) -> None:
        """A registered conversation is shown at once, by id and by its participants, without a last message."""
        await cell.store.register(PAIR, ("ann", "bob"))
        by_users = with_users(["bob"])
        for name in (NAMED, by_users):
            ask = history.GetConversationRequest(conversation=name)
            shown = (await cell.stub.GetConversation(ask, metadata=of("ann"))).conversation
            assert shown == history.Conversation(
                conversation_id=PAIR,
                kind=history.CONVERSATION_KIND_DIRECT,
                participant_ids=["ann", "bob"],
                participant_count=2,
            )

    async def test_marks_and_unread(self, cell: Served) -> None:
        """One sees one's own read mark, what is unread after it, and the others' marks; read implies received."""
        refs = [cell.made.message("bob", ["ann"], f"m{n}", n) for n in range(1, 7)]
        cell.made.read_mark("ann", ["ann", "bob"], refs[1])
        cell.made.received_mark("ann", ["ann", "bob"], refs[0])
        cell.made.message("ann", ["bob"], "own", 9)
        await cell.made.store_all(cell.store)
        ask = history.GetConversationRequest(conversation=NAMED)
        by_ann = (await cell.stub.GetConversation(ask, metadata=of("ann"))).conversation
        assert (by_ann.unread_count, by_ann.read_through, len(by_ann.peer_marks)) == (4, refs[1], 0)
        assert by_ann.last_message.message.ref.message_id == "own"
        by_bob = (await cell.stub.GetConversation(ask, metadata=of("bob"))).conversation
        assert (by_bob.unread_count, by_bob.HasField("read_through")) == (1, False)
        marks = history.PeerMarks(user_id="ann", received_through=refs[1], read_through=refs[1])
        assert list(by_bob.peer_marks) == [marks]

    async def test_notes_to_self_and_groups(self, cell: Served) -> None:
        """The kind says how many take part."""
        cell.made.message("ann", [], "m1", 7)
        cell.made.message("ann", ["bob", "cid", "dan"], "m2", 8)
        await cell.made.store_all(cell.store)
        page = await cell.stub.ListConversations(history.ListConversationsRequest(), metadata=of("ann"))
        assert [(c.kind, c.participant_count) for c in page.conversations] == [
            (history.CONVERSATION_KIND_GROUP, 4),
            (history.CONVERSATION_KIND_SELF, 1),
        ]


class TestListConversations:
    async def test_paging_while_conversations_change(self, cell: Served) -> None:
        """No conversation twice; one that is missing became active meanwhile, and its event is after the cursor."""
        chance = random.Random(3)
        for number in range(30):
            others = [f"peer-{number}", *(["x", "y", "z"] if number % 4 == 0 else [])]
            cell.made.message("ann", others, f"m{number}", 100 + number % 5)
        await cell.made.store_all(cell.store)
        everything = {
            conversation_id(["ann", f"peer-{n}", *(["x", "y", "z"] if n % 4 == 0 else [])]) for n in range(30)
        }
        request, seen, cursors, late = (
            history.ListConversationsRequest(page_size=4),
            list[str](),
            set[str](),
            set[str](),
        )
        for number in range(100):
            page = await cell.stub.ListConversations(request, metadata=of("ann"))
            seen += [shown.conversation_id for shown in page.conversations]
            cursors.add(page.cursor)
            if not page.next_page_token:
                break
            request = history.ListConversationsRequest(page_size=4, page_token=page.next_page_token)
            active = chance.randrange(30)
            others = [f"peer-{active}", *(["x", "y", "z"] if active % 4 == 0 else [])]
            late.add(cell.made.message("ann", others, f"late-{number}", 1_000 + number).conversation_id)
            await cell.made.store_all(cell.store)
        assert len(seen) == len(set(seen))
        assert everything - set(seen) <= late
        (cursor,) = cursors
        events = await cell.stub.ListEvents(
            history.ListEventsRequest(after_cursor=cursor), metadata=of("ann")
        )
        assert {event.message.ref.conversation_id for event in events.events} == late

    async def test_a_page_is_bounded_in_bytes(self) -> None:
        """Large last messages make shorter pages, none without a conversation."""
        async with served(HistorySettings(max_page_bytes=5_000)) as cell:
            for number in range(7):
                cell.made.message(
                    "ann",
                    [f"peer-{number}"],
                    f"m{number}",
                    number + 1,
                    "x" * (9_000 if number == 3 else 2_000),
                )
            await cell.made.store_all(cell.store)
            sizes, request = [], history.ListConversationsRequest()
            while True:
                page = await cell.stub.ListConversations(request, metadata=of("ann"))
                sizes.append(len(page.conversations))
                if not page.next_page_token:
                    break
                request.page_token = page.next_page_token
            assert sizes == [2, 1, 1, 2, 1]


class TestListEvents:
    @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
    @given(
        script=commands,
        sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
        chance=chances,
    )
    async def test_pages_are_the_effective_records(
        self, script: list[Command], sizes: list[int], chance: random.Random
    ) -> None:
        """Whatever the page sizes and what is stored between: each record once, in order, marks as their fold (I9)."""
        async with served() as cell:
            made = written(script)
            made.incarnation = cell.log.incarnation
            stored = dict.fromkeys(made.records, 0)
            rows = made.rows()
            user = chance.choice(USERS)
            partition = made.partition_of(user)
            pages: list[history.ListEventsResponse] = []
            cursor, number = "", 0
            while True:
                request = history.ListEventsRequest(after_cursor=cursor, page_size=sizes[number % len(sizes)])
                page = await cell.stub.ListEvents(request, metadata=of(user))
                pages.append(page)
                cursor, number = page.next_cursor, number + 1
                complete = cursor == page.persisted_cursor
                if complete and stored == {p: len(records) for p, records in made.records.items()}:
                    break
                if complete or chance.random() < 0.3:
                    for each, records in made.records.items():
                        end = chance.randint(stored[each], len(records)) if number < 20 else len(records)
                        if end > stored[each]:
                            await cell.store.write(made.batch(each, stored[each], end, rows))
                            stored[each] = end
            self.check(made, user, pages)
            assert decode_cursor(cursor).offset == len(made.records[partition]) - 1

    def check(self, made: WrittenLog, user: str, pages: list[history.ListEventsResponse]) -> None:
        found = [event for page in pages for event in page.events]
        gaps = [decode_cursor(gap.until).offset for page in pages for gap in page.gaps]
        assert gaps == gaps_of(made, user)
        offsets = [decode_cursor(event.cursor).offset for event in found]
        assert offsets == sorted(set(offsets))
        effective = {seen.offset: seen for seen in events_of(made, user)}
        marks: dict[tuple[str, str, int], MessageKey] = {}
        for offset, event in zip(offsets, found, strict=True):
            seen = effective.pop(offset)
            told = messaging.Event()
            told.CopyFrom(event)
            told.ClearField("cursor")
            assert told == seen.event
            if is_mark(seen):
                mark = event.read_mark if event.HasField("read_mark") else event.received_mark
                name = (mark.through.conversation_id, mark.user_id, int(seen.kind))
                marks[name] = max(marks.get(name, MessageKey(0, "", "")), key_of(mark.through))
        assert all(map(is_mark, effective.values()))
        assert marks == marks_of(made, user)

    async def test_cursors_that_cannot_be_gone_on_from(self, cell: Served) -> None:
        """Malformed, another user's, another log's, past the end: each is CURSOR_INVALID with its own status and text."""
        cell.made.message("ann", ["bob"], "m1", 7)
        await cell.made.store_all(cell.store)
        mine = cell.made.partition_of("ann")
        log = incarnation_bytes(cell.log.incarnation)
        for cursor, status in (
            ("x", grpc.StatusCode.INVALID_ARGUMENT),
            ("é" * 36, grpc.StatusCode.INVALID_ARGUMENT),
            (Cursor(log, mine + 1, 0, 7).encode(), grpc.StatusCode.INVALID_ARGUMENT),
            (Cursor(incarnation_bytes("other"), mine, 0, 7).encode(), grpc.StatusCode.FAILED_PRECONDITION),
            (Cursor(log, mine, 50, 7).encode(), grpc.StatusCode.OUT_OF_RANGE),
        ):
            error = await refusal(cell, "ListEvents", history.ListEventsRequest(after_cursor=cursor))
            info = error_info(error)
            assert (error.code(), info.reason) == (status, "CURSOR_INVALID")
            assert info.metadata["field"] == "after_cursor"

    async def test_nothing_new_keeps_the_cursor(self, cell: Served) -> None:
        """After the last event a page is empty, and says that it is the last."""
        cell.made.message("ann", ["bob"], "m1", 7)
        await cell.made.store_all(cell.store)
        first = await cell.stub.ListEvents(history.ListEventsRequest(), metadata=of("ann"))
        assert first.next_cursor == first.persisted_cursor
        ask = history.ListEventsRequest(after_cursor=first.next_cursor)
        again = await cell.stub.ListEvents(ask, metadata=of("ann"))
        assert (len(again.events), again.next_cursor, again.persisted_cursor) == (
            0,
            first.next_cursor,
            first.next_cursor,
        )
