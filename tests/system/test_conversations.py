"""People talk: what is sent arrives whole, once, in one order, at every client, and in history."""

import asyncio
import hashlib
import random
from contextlib import AsyncExitStack

import pytest

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from check.calls import eventually
from check.history_pages import (
    all_events,
    all_messages,
    by_id,
    events_at_least,
    messages_at_least,
    with_users,
)
from check.ledger import (
    conversation,
    is_message,
    marks,
    message_ids,
    microseconds,
    once_violations,
    reactions,
    session_violations,
    sort_key,
    without_marks,
)
from check.plain_client import PlainClient
from check.plain_outbox import new_id, text_message
from tests.system.conftest import Connect

pytestmark = pytest.mark.timeout(180)

TEXTS = {
    "english": "Hello, world",
    "german": "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich",
    "greek": "Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία",
    "russian": "Съешь же ещё этих мягких французских булок",
    "arabic": "نص حكيم له سر قاطع وذو شأن عظيم",
    "hebrew": "דג סקרן שט בים מאוכזב ולפתע מצא חברה",
    "both directions": "left ‏ימין‎ left \u202eoverridden\u202c \u2067isolated\u2069",
    "persian with zero width non joiner": "می\u200cخواهم",
    "hindi": "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का",
    "tamil": "யாமறிந்த மொழிகளிலே தமிழ்மொழி",
    "thai": "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
    "burmese": "သီဟိုဠ်မှ ဉာဏ်ကြီးရှင်သည်",
    "tibetan": "༈ དཀར་མཛེས་ཨ་ཡིག་ལས་འཁྲུངས་ཡེ་ཤེས་གཏེར",
    "chinese": "天地玄黃宇宙洪荒 日月盈昃辰宿列張 简体字",
    "beyond the basic plane": "𠜎𠜱𠝹𠱓 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐎠𐎼𐎹 𓀀𓁐",
    "japanese": "いろはにほへと ちりぬるを ｱｲｳ ア゙",
    "korean, composed and in jamo": "다람쥐 헌 쳇바퀴에 타고파 \u1103\u1161\u1105\u1161\u11b7",
    "combining, not normalised": "e\u0301 \u00e9 \u1e9b\u0323 \u0323\u0307s a\u0300\u0316\u0301\u0317 Z\u0351\u036b\u0343",
    "leading combining mark": "\u0301\u20dd",
    "emoji with joiners and skins": "👩🏽‍❤️‍💋‍👨🏿 👨‍👩‍👧‍👦 🏳️‍🌈 🏴󠁧󠁢󠁳󠁣󠁴󠁿 🇺🇳 1️⃣ ☺︎ ☺️",
    "controls": "a\tb\r\nc\nd\x01\x1b[31m\x7f\x85\u2028\u2029",
    "odd code points": "\ufeff\ufffe\uffff\U0010ffff\ue000\U000f0000\ufffd\u00ad\u2060\U000e0041",
    "only spaces": " \u00a0\u3000\u200b ",
    "looks like markup": "<script>alert('x')</script> %s %00 \\u0000 {{x}} '; DROP TABLE record; --",
    "long": "é" * 30_000,
}


async def told_through(client: PlainClient, message: messaging.Message) -> list[messaging.Event]:
    """What a client was told up to a message, once it was told that."""
    await client.message(message.ref.sender_id, message.ref.message_id)
    refs = [event.message.ref for event in client.ledger.events]
    return client.ledger.events[: refs.index(message.ref) + 1]


def set_react(message: messaging.MessageRef, key: str) -> messaging.Command:
    return messaging.Command(react=messaging.React(reaction_id=new_id(), message=message, key=key))


def set_unreact(message: messaging.MessageRef, key: str) -> messaging.Command:
    return messaging.Command(unreact=messaging.Unreact(reaction_id=new_id(), message=message, key=key))


async def until_marked(client: PlainClient, keys: set[tuple[str, str, str]]) -> None:
    """Until a client was told of these marks."""
    await client.until(lambda: keys <= marks(client.ledger.events).keys(), "marks")


async def seen_by(client: PlainClient, name: history.ConversationName) -> history.Conversation:
    """A conversation as history shows it to this user."""
    request = history.GetConversationRequest(conversation=name)
    answer: history.GetConversationResponse = await client.history.GetConversation(
        request, metadata=client.metadata
    )
    return answer.conversation


async def test_all_clients_of_a_user_see_the_same_sequence(connect: Connect) -> None:
    """Three clients of one user, one of them subscribed, and a peer: send, react, un-react, mark; all see one sequence."""
    async with (
        connect("a1") as phone,
        connect("a1") as laptop,
        connect("a1", transport="subscribe") as browser,
        connect("b1") as peer,
    ):
        sent = [
            await phone.send("from the phone", ["b1"]),
            await peer.send("from the peer", ["a1"]),
            await browser.send("from the browser", ["b1"]),
            await laptop.send("from the laptop", ["b1"]),
        ]
        first, second = sent[0].ref, sent[1].ref
        for message in sent:
            await told_through(peer, message)
        await phone.done(set_react(second, "👍"))
        await browser.done(set_react(second, "❤️"))
        await peer.done(set_react(first, "👀"))
        await laptop.done(set_unreact(second, "👍"))
        await peer.done(messaging.Command(acknowledge=messaging.Acknowledge(cursor=peer.cursor or "")))
        await peer.done(messaging.Command(mark_read=messaging.MarkRead(through=sent[2].ref)))
        await browser.done(messaging.Command(mark_received=messaging.MarkReceived(through=second)))
        received = ("received_mark", first.conversation_id, "b1")
        read = ("read_mark", first.conversation_id, "b1")
        for client in (phone, laptop, browser, peer):
            await until_marked(client, {received, read})
        last = await peer.send("the last", ["a1"])
        one = await told_through(phone, last)
        assert one == await told_through(laptop, last)
        assert one == await told_through(browser, last)
        other = await told_through(peer, last)

        assert [message.ref for message in sent] == sorted((m.ref for m in sent), key=sort_key)
        assert (
            conversation(one, first.conversation_id)
            == conversation(other, first.conversation_id)
            == [*sent, last]
        )
        thumbs = {(sort_key(second), "a1", "👍"): False, (sort_key(second), "a1", "❤️"): True}
        assert reactions(one) == reactions(other) == {**thumbs, (sort_key(first), "b1", "👀"): True}
        assert marks(one)[read] == sort_key(sent[2].ref)
        assert marks(one)[received] == sort_key(sent[3].ref)
        for client in (phone, laptop, browser, peer):
            assert once_violations(client.ledger.events) == []
            assert client.strays == []
            assert client.ledger.gaps == []


async def test_history_equals_what_was_told(connect: Connect) -> None:
    """History gives what the streams gave, by each of its calls: events, messages, reactions, marks, unread counts."""
    async with connect("a2") as ann, connect("b2") as bob:
        sent = [await ann.send(f"message {n}", ["b2"]) for n in range(5)]
        await told_through(bob, sent[4])
        await bob.done(set_react(sent[1].ref, "👍"))
        await ann.done(set_react(sent[1].ref, "👍"))
        await bob.done(set_react(sent[2].ref, "🎉"))
        await bob.done(set_unreact(sent[2].ref, "🎉"))
        await bob.done(messaging.Command(mark_read=messaging.MarkRead(through=sent[2].ref)))
        last = await bob.send("done", ["a2"])
        name = by_id(last.ref.conversation_id)
        told = await told_through(ann, last)
        await messages_at_least(ann, name, 6)
        assert without_marks(await events_at_least(ann, len(without_marks(told)))) == without_marks(told)
        listed = await all_messages(bob, name)
        assert [item.message for item in listed] == [*sent, last]
        assert listed == await all_messages(bob, with_users("a2"), history.DIRECTION_NEWER, page_size=2)
        thumb = history.Reaction(key="👍", count=2, user_ids=["a2", "b2"], mine=True)
        assert [list(item.reactions) for item in listed] == [[], [thumb], [], [], [], []]
        request = history.GetMessagesRequest(messages=[sent[4].ref, sent[1].ref])
        got = await ann.history.GetMessages(request, metadata=ann.metadata)
        assert list(got.messages) == [listed[4], listed[1]]

        async def is_read() -> bool:
            return bool((await seen_by(bob, name)).read_through == sent[2].ref)

        await eventually(is_read, "bob's read mark in history")
        await events_at_least(ann, len(without_marks(told)))
        for_bob, for_ann = await seen_by(bob, name), await seen_by(ann, name)
        assert for_bob.kind == for_ann.kind == history.CONVERSATION_KIND_DIRECT
        assert list(for_bob.participant_ids) == list(for_ann.participant_ids) == ["a2", "b2"]
        assert for_bob.last_message.message == for_ann.last_message.message == last
        assert for_bob.unread_count == 2  # ann's fourth and fifth
        assert for_ann.unread_count == 1
        assert for_ann.peer_marks[0].user_id == "b2"
        assert for_ann.peer_marks[0].read_through == sent[2].ref


async def test_texts_of_all_scripts_arrive_as_they_were(connect: Connect) -> None:
    """Right to left, CJK, combining marks, joined emoji, odd code points: the same everywhere, never normalised."""
    async with connect("a3") as ann, connect("b3") as bob:
        commands = [text_message(text, ["b3"]) for text in TEXTS.values()]
        submissions = [ann.submit(command) for command in commands]
        await ann.settle(*submissions)
        for submission, (name, text) in zip(submissions, TEXTS.items(), strict=True):
            assert submission.accepted, (name, submission.rejected)
            for client in (ann, bob):
                message = await client.message("a3", submission.id)
                assert message.content.text == text, name
        listed = await messages_at_least(bob, with_users("a3"), len(TEXTS))
        assert [item.message.content.text for item in listed] == list(TEXTS.values())


async def test_bytes_attributes_and_attachments_arrive_as_they_were(connect: Connect) -> None:
    """Binary payloads byte for byte, attributes and attachments field for field, at the peer and in history."""
    frame = text_message("inner", ["x"]).SerializeToString()
    noise = random.Random(5).randbytes(60_000)
    contents = [
        messaging.Content(data=bytes(range(256)), content_type="application/octet-stream"),
        messaging.Content(data=frame, content_type="application/x-protobuf"),
        messaging.Content(data=noise, content_type="image/webp; q=1"),
        messaging.Content(data=b"\0", content_type="application/octet-stream"),
        messaging.Content(
            text="with everything",
            content_type="text/markdown",
            attributes={
                "key": "value",
                "empty": "",
                "ключ": "значение",
                **{f"k{n}": "v" * 20 for n in range(10)},
            },
            attachments=[
                messaging.Attachment(
                    uri="https://example.org/%C3%A4/%F0%9F%93%8E?x=1",
                    content_type="application/pdf",
                    size_bytes=2**40 + 1,
                    sha256=hashlib.sha256(b"file").digest(),
                    name="отчёт 📎.pdf",
                ),
                messaging.Attachment(
                    uri="urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", content_type="image/png"
                ),
            ],
        ),
        messaging.Content(
            attachments=[messaging.Attachment(uri="s3://bucket/key", content_type="video/mp4")]
        ),
    ]
    async with connect("a4") as ann, connect("b4") as bob:
        for content in contents:
            send = messaging.SendMessage(
                message_id=new_id(),
                recipients=messaging.Recipients(user_ids=["b4"]),
                content=content,
                notify=messaging.NOTIFY_LEVEL_URGENT,
            )
            await ann.done(messaging.Command(send_message=send))
            for client in (ann, bob):
                message = await client.message("a4", send.message_id)
                assert message.content == content
                assert message.notify == messaging.NOTIFY_LEVEL_URGENT
        listed = await messages_at_least(ann, with_users("b4"), len(contents))
        assert [item.message.content for item in listed] == contents


@pytest.mark.parametrize("count", [2, 5, 200])
async def test_a_message_to_many_reaches_each_once(connect: Connect, count: int) -> None:
    """A message to 2, 5 and 200 is told once to each, to the sender, and to nobody else; history has it for each."""
    sender, others = f"s{count}", [f"r{count}-{n}" for n in range(count)]
    async with AsyncExitStack() as stack:
        ann = await stack.enter_async_context(connect(sender))
        clients = [ann, *[connect(user) for user in others]]
        for client in clients[1:]:
            client.start()
            stack.push_async_callback(client.close)
        outsider = await stack.enter_async_context(connect(f"outsider{count}"))
        first = await ann.send("to all", others)
        answer = messaging.SendMessage(
            message_id=new_id(),
            conversation_id=first.ref.conversation_id,
            content=messaging.Content(text="to all, from one"),
            reply_to=first.ref,
        )
        await clients[-1].message(sender, first.ref.message_id)
        await clients[-1].done(messaging.Command(send_message=answer))
        expected = [first, await ann.message(others[-1], answer.message_id)]
        for client in clients:
            await client.message(others[-1], answer.message_id)
            assert conversation(client.ledger.events, first.ref.conversation_id) == expected
            assert once_violations(client.ledger.events) == []
        name = by_id(first.ref.conversation_id)
        for client in (ann, clients[1], clients[count // 2], clients[-1]):
            listed = await messages_at_least(client, name, 2)
            assert [item.message for item in listed] == expected
            assert session_violations(await events_at_least(client, 2), client.ledger) == []
        seen = await ann.history.GetConversation(
            history.GetConversationRequest(conversation=name), metadata=ann.metadata
        )
        assert seen.conversation.kind == history.CONVERSATION_KIND_GROUP
        assert list(seen.conversation.participant_ids) == sorted([sender, *others])
        assert seen.conversation.participant_count == count + 1
        await outsider.until_resumed()
        assert outsider.ledger.events == []
        assert await all_events(outsider) == []


async def test_a_note_to_self_is_told_once(connect: Connect) -> None:
    """A message to oneself is one event at each of one's clients and one row in history."""
    async with connect("a5") as phone, connect("a5") as laptop:
        note = await phone.send("remember", ["a5"])
        assert await laptop.message("a5", note.ref.message_id) == note
        after = await phone.send("and this", ["a5"])
        assert await told_through(phone, after) == await told_through(laptop, after)
        assert message_ids(phone.ledger.events) == [note.ref.message_id, after.ref.message_id]
        listed = await messages_at_least(phone, with_users("a5"), 2)
        assert [item.message for item in listed] == [note, after]


async def test_replies_carry_what_they_answer_and_come_after_it(connect: Connect) -> None:
    """reply_to comes back whole; a message is later than all its sender was shown, and than what it answers (I12)."""
    async with connect("a6") as ann, connect("b6") as bob:
        last = await ann.send("0", ["b6"])
        for n in range(1, 21):
            writer = (ann, bob)[n % 2]
            await writer.message(last.ref.sender_id, last.ref.message_id)
            reply = messaging.SendMessage(
                message_id=new_id(),
                conversation_id=last.ref.conversation_id,
                content=messaging.Content(text=str(n)),
                reply_to=last.ref,
            )
            await writer.done(messaging.Command(send_message=reply))
            answer = await writer.message(writer.user_id, reply.message_id)
            assert answer.reply_to == last.ref
            assert microseconds(answer.ref) > microseconds(last.ref)
            last = answer
        listed = await messages_at_least(ann, by_id(last.ref.conversation_id), 21)
        assert [item.message.content.text for item in listed] == [str(n) for n in range(21)]


async def test_a_conversation_is_the_same_for_both_however_they_race(connect: Connect) -> None:
    """Two users writing at once, from several clients: one set of messages, one order when shown, equal to history."""
    async with (
        connect("a7") as phone,
        connect("a7", transport="subscribe") as browser,
        connect("b7") as bob,
        connect("b7") as bobs_laptop,
    ):
        clients = (phone, browser, bob, bobs_laptop)

        async def write(client: PlainClient, peer: str) -> None:
            for burst in range(12):
                shown = max(
                    (microseconds(e.message.ref) for e in client.ledger.events if is_message(e)), default=0
                )
                submissions = [client.submit(text_message(f"{burst}.{n}", [peer])) for n in range(10)]
                await client.settle(*submissions)
                for submission in submissions:
                    message = await client.message(client.user_id, submission.id)
                    assert microseconds(message.ref) > shown
                    shown = microseconds(message.ref)  # commands of one stream are appended in order

        await asyncio.gather(*[write(client, "b7" if client.user_id == "a7" else "a7") for client in clients])
        for client in clients:
            await client.until_events(480)
        assert phone.ledger.events == browser.ledger.events
        assert bob.ledger.events == bobs_laptop.ledger.events
        conversation_id = phone.ledger.events[0].message.ref.conversation_id
        shown = conversation(phone.ledger.events, conversation_id)
        assert len(shown) == len(phone.ledger.events) == len(bob.ledger.events) == 480
        assert shown == conversation(bob.ledger.events, conversation_id)
        for client in (phone, bob):
            assert (
                once_violations(
                    client.ledger.events, [(c.user_id, s.id) for c in clients for s in c.accepted_order]
                )
                == []
            )
            listed = await messages_at_least(client, by_id(conversation_id), 480)
            assert [item.message for item in listed] == shown
            assert await events_at_least(client, 480) == client.ledger.events


async def test_a_tool_sends_by_one_call(connect: Connect) -> None:
    """SendMessage answers how every client will know the message; the same call again is the same message."""
    async with connect("a8") as ann, connect("b8") as bob:
        send = text_message("by one call", ["b8"]).send_message
        request = messaging.SendMessageRequest(send_message=send)
        answer = await ann.messaging.SendMessage(request, metadata=ann.metadata)
        told = await bob.message("a8", send.message_id)
        assert told == await ann.message("a8", send.message_id)
        assert answer.message == told.ref
        await ann.messaging.SendMessage(request, metadata=ann.metadata)
        fence = await ann.send("fence", ["b8"])
        assert message_ids(await told_through(bob, fence)) == [send.message_id, fence.ref.message_id]


async def test_marks_are_a_maximum(connect: Connect) -> None:
    """A mark behind an earlier one changes nothing: what clients and history make of all marks is the highest."""
    async with connect("a9") as ann, connect("b9") as bob:
        sent = [await ann.send(str(n), ["b9"]) for n in range(3)]
        await told_through(bob, sent[2])
        for n in (0, 2, 1):
            await bob.done(messaging.Command(mark_read=messaging.MarkRead(through=sent[n].ref)))
        fence = await bob.send("fence", ["a9"])
        events = await told_through(ann, fence)
        name = by_id(fence.ref.conversation_id)
        assert marks(events)["read_mark", fence.ref.conversation_id, "b9"] == sort_key(sent[2].ref)
        await events_at_least(ann, 4)
        await events_at_least(bob, 4)
        for_ann, for_bob = await seen_by(ann, name), await seen_by(bob, name)
        assert [peer.read_through for peer in for_ann.peer_marks] == [sent[2].ref]
        assert for_bob.read_through == sent[2].ref
        assert for_bob.unread_count == 0
