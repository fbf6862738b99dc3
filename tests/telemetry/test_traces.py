"""Traces of a running cell, as an OpenTelemetry collector gets them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.partitioner import partition_for
from messaging_cell.access_tokens import make_token
from messaging_cell.cell_process import CellProcess
from messaging_cell.setting_kinds import Address
from messaging_cell.settings import Settings
from messaging_client import CallFailed, Client, NewMessage, NotDone
from telemetry import opentelemetry_spans
from tests.telemetry.collector import DEADLINE_S, Seen, collector

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
PARTITIONS = 3
ANN, BOB = "ann", "bob"


@pytest.fixture(autouse=True)
def _sent_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans are sent as they come, not every five seconds."""
    monkeypatch.setattr(opentelemetry_spans, "SEND_EVERY_S", 0.05)


@asynccontextmanager
async def running(folder: Path, endpoint: str, **settings: Any) -> AsyncIterator[CellProcess]:
    made = Settings(
        listen=Address("127.0.0.1", 0),
        data_folder=folder,
        drain_s=0,
        partitions=PARTITIONS,
        otlp_endpoint=endpoint,
        **{"trace_ratio": 0.0, **settings},
    )
    cell = CellProcess(made)
    await cell.start()
    try:
        yield cell
    finally:
        await cell.stop()


def client(cell: CellProcess, user: str, traceparent: str = "") -> Client:
    token = make_token(cell.settings, user, 600)
    return Client(str(cell.client_address), token, trace_context=lambda: traceparent)


async def next_message(client: Client) -> NewMessage:
    async for event in client.events():
        if isinstance(event, NewMessage):
            return event
    raise AssertionError("the client was closed")


def under(spans: list[Seen], above: Seen | str, name: str) -> list[Seen]:
    """Spans of this name right below another one."""
    parent = above if isinstance(above, str) else above.id
    return sorted(
        (span for span in spans if (span.parent, span.name) == (parent, name)), key=lambda span: span.start_ns
    )


def of_group(spans: list[Seen], group: str) -> Seen:
    (found,) = (span for span in spans if span.attributes["messaging.consumer.group.name"] == group)
    return found


async def test_one_message_is_one_trace(tmp_path: Path) -> None:
    """From the client's own span through accept, append, delivery, copy and history to the stream of each who is told."""
    assert partition_for(ANN, PARTITIONS) != partition_for(BOB, PARTITIONS)
    async with collector() as kept, running(tmp_path, kept.endpoint) as cell:
        async with client(cell, ANN, SAMPLED) as ann, client(cell, BOB) as bob:
            await asyncio.gather(ann.online(), bob.online())
            message_id = await ann.send("hello", to=BOB)
            told = await next_message(bob)
            assert told.traceparent == SAMPLED
            await bob.send("not sampled", to=ANN)
        # accept, send, process; copy: send, process; deliver to both; history twice
        spans = await kept.until(lambda spans: len(spans) >= 9)
    assert len(spans) == 9
    assert {span.trace for span in spans} == {TRACE}
    assert {span.service for span in spans} == {"messaging-cell"}
    (accept,) = under(spans, SPAN, "accept send_message")
    assert accept.kind == "SERVER"
    assert accept.attributes["messaging.message.id"] == message_id
    (sent,) = under(spans, accept, "send log")
    here, there = str(partition_for(ANN, PARTITIONS)), str(partition_for(BOB, PARTITIONS))
    assert (sent.kind, sent.attributes["messaging.destination.partition.id"]) == ("PRODUCER", here)
    read = under(spans, sent, "process log")
    assert [span.kind for span in read] == ["CONSUMER", "CONSUMER"]
    _stored, routed = of_group(read, "history"), of_group(read, "delivery")
    assert len(under(spans, routed, "deliver stream")) == 1
    (forwarded,) = under(spans, routed, "send log")
    assert forwarded.attributes["messaging.destination.partition.id"] == there
    copies = under(spans, forwarded, "process log")
    assert {span.attributes["messaging.destination.partition.id"] for span in copies} == {there}
    assert of_group(copies, "history")
    (delivered,) = under(spans, of_group(copies, "delivery"), "deliver stream")
    assert accept.start_ns <= sent.start_ns <= sent.end_ns <= accept.end_ns <= delivered.end_ns


async def test_calls_are_traced(tmp_path: Path) -> None:
    """A unary send is traced in the context of its call, and so is a question to history; a refusal tells its reason."""
    async with collector() as kept, running(tmp_path, kept.endpoint) as cell:
        async with client(cell, ANN, SAMPLED) as ann:
            with pytest.raises(CallFailed):
                await ann.conversation(to=BOB)
            with pytest.raises(NotDone):
                await ann.send("", to=BOB)
        await unary_send(cell, SAMPLED)
        spans = await kept.until(lambda spans: len(under(spans, SPAN, "accept send_message")) == 2)
    (asked,) = under(spans, SPAN, "cell.history.v1.HistoryService/GetConversation")
    assert asked.attributes["error.type"] == asked.attributes["rpc.response.status_code"] == "NOT_FOUND"
    refused, accepted = under(spans, SPAN, "accept send_message")
    assert refused.attributes["error.type"] == "INVALID_FIELD"
    assert accepted.attributes["messaging.message.id"] == "m1"


async def unary_send(cell: CellProcess, traceparent: str) -> None:
    async with grpc.aio.insecure_channel(str(cell.client_address)) as channel:
        call: Any = channel.unary_unary("/cell.messaging.v1.MessagingService/SendMessage")
        send = messaging.SendMessage(message_id="m1", content=messaging.Content(text="hi"))
        send.recipients.user_ids.append(BOB)
        bearer = f"Bearer {make_token(cell.settings, ANN, 60)}"
        await call(
            messaging.SendMessageRequest(send_message=send).SerializeToString(),
            metadata=(("authorization", bearer), ("traceparent", traceparent)),
        )


async def test_who_is_traced(tmp_path: Path) -> None:
    """Chance decides where a client says nothing, and then its event tells the trace; one that says no is not traced."""
    async with collector() as kept, running(tmp_path, kept.endpoint, trace_ratio=1.0) as cell:
        async with client(cell, ANN) as ann, client(cell, BOB, SAMPLED[:-1] + "0") as bob:
            await asyncio.gather(ann.online(), bob.online())
            await bob.send("no", to=ANN)
            assert (await next_message(ann)).traceparent.endswith("-00")
            await ann.send("perhaps", to=BOB)
            told = await next_message(ann)
        spans = await kept.until(lambda spans: [span for span in spans if span.name == "accept send_message"])
    (accept,) = (span for span in spans if span.name == "accept send_message")
    assert (accept.parent, accept.traceparent) == ("", told.traceparent)
    assert TRACE not in {span.trace for span in spans}


@pytest.mark.parametrize("trouble", ["away", "slow"])
async def test_a_collector_that_is_away_or_slow_changes_nothing(
    tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every message is accepted and delivered while spans pile up to their bound; the cell stops, and nothing goes on."""
    monkeypatch.setattr(opentelemetry_spans, "QUEUED_SPANS", 16)
    monkeypatch.setattr(opentelemetry_spans, "SENT_AT_ONCE", 8)
    async with collector() as kept:
        kept.is_slow = True
        endpoint = "http://127.0.0.1:1" if trouble == "away" else kept.endpoint
        async with (
            running(tmp_path, endpoint, traces_per_second=1_000) as cell,
            client(cell, ANN, SAMPLED) as ann,
            client(cell, BOB) as bob,
        ):
            await asyncio.gather(ann.online(), bob.online())
            await asyncio.gather(*(ann.send(f"{n}", to=BOB) for n in range(50)))
            texts = [(await next_message(bob)).message.text for _ in range(50)]
            assert texts == [f"{n}" for n in range(50)]
        assert not kept.spans
        async with asyncio.timeout(DEADLINE_S):
            while any(thread.name.startswith("Otel") for thread in threading.enumerate()):
                await asyncio.sleep(0.05)
