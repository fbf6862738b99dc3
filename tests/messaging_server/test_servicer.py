import asyncio

from tests.messaging_server.memory_cell import Client, running_cell


async def test_a_message_reaches_every_stream_of_both_users() -> None:
    """A message is accepted and shown once to each client of sender and recipient, with the same cursor per user."""
    async with running_cell() as cell, cell.channel() as channel:
        alice, phone, laptop = Client(channel, "alice"), Client(channel, "bob"), Client(channel, "bob")
        await asyncio.gather(alice.connect(), phone.connect(), laptop.connect())
        outcome = await alice.message("bob", "hello", "m1")
        assert outcome.WhichOneof("update") == "accepted"
        assert (await alice.event()).message.content.text == "hello"
        first, second = await phone.event(), await laptop.event()
        assert first == second
        assert first.message.ref.message_id == "m1"
