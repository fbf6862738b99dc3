"""The cell as a library."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from cell.messaging.v1 import messaging_pb2 as messaging
from delivery_service.outbox import Outbox
from event_log.port import EventLog
from history_service.consumer import HistoryConsumer
from history_service.port import StoreError
from messaging_cell import process_checks, storage
from messaging_cell.access_tokens import make_token
from messaging_cell.cell_process import CannotStart, CellFailed, CellProcess, Service
from messaging_cell.setting_kinds import Address
from messaging_cell.settings import Settings, SettingsRefused
from messaging_client import Client
from session_link.grpc_link import dial

ANYWHERE = Address("127.0.0.1", 0)


def settings(folder: Path, listen: Address = ANYWHERE) -> Settings:
    return Settings(listen=listen, data_folder=folder / "data", drain_s=0.5)


async def send(cell: CellProcess) -> str:
    async with Client(str(cell.client_address), make_token(cell.settings, "ann", 60)) as client:
        return await client.send("hello", to="bob")


async def health(channel: grpc.aio.Channel) -> int:
    check: Any = channel.unary_unary(
        "/grpc.health.v1.Health/Check", response_deserializer=health_pb2.HealthCheckResponse.FromString
    )
    return int((await check(b"")).status)


async def subscribed(channel: grpc.aio.Channel, cell: CellProcess) -> Any:
    """A stream that has been welcomed."""
    subscribe: Any = channel.unary_stream(
        "/cell.messaging.v1.MessagingService/Subscribe",
        request_serializer=messaging.SubscribeRequest.SerializeToString,
        response_deserializer=messaging.SubscribeResponse.FromString,
    )
    request = messaging.SubscribeRequest(hello=messaging.Hello(live_only=True))
    token = make_token(cell.settings, "ann", 60)
    stream = subscribe(request, metadata=(("authorization", f"Bearer {token}"),))
    assert await stream.read()
    return stream


async def test_it_serves_from_start_to_stop(tmp_path: Path) -> None:
    """`start` returns when it is ready on a real port; `stop` closes everything, and the folder and port are free again."""
    cell = CellProcess(settings(tmp_path))
    await cell.start()
    assert cell.client_address.port != 0
    assert await send(cell)
    await cell.stop()
    await cell.wait_closed()
    again = CellProcess(settings(tmp_path, cell.client_address))
    await again.start()
    assert await send(again)
    await again.stop()


async def test_it_is_not_serving_while_it_drains(tmp_path: Path) -> None:
    """Health says NOT_SERVING while clients leave, so that nothing new is sent there; then they are gone."""
    cell = CellProcess(settings(tmp_path))
    await cell.start()
    async with grpc.aio.insecure_channel(str(cell.client_address)) as channel:
        assert await health(channel) == health_pb2.HealthCheckResponse.SERVING
        stream = await subscribed(channel, cell)
        stopping = asyncio.create_task(cell.stop())
        while not any(update.HasField("go_away") for update in (await stream.read()).updates):
            pass
        assert await health(channel) == health_pb2.HealthCheckResponse.NOT_SERVING
        stream.cancel()
        await stopping


async def test_it_does_not_become_ready_while_it_drains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A messaging server that is told to stop before its partitions had owners is not serving when these link after all."""
    monkeypatch.setattr(process_checks, "check", lambda *_, **__: None)  # lets it have the embedded engines
    logs: list[EventLog] = []
    open_log = storage.open_log

    async def opened(of: Settings) -> EventLog:
        logs.append(await open_log(of))
        return logs[0]

    monkeypatch.setattr(storage, "open_log", opened)
    alone = replace(settings(tmp_path), internal_listen=ANYWHERE)
    cell = CellProcess(alone, [Service.MESSAGING_SERVER])
    await cell.start()
    assert cell._server is not None
    async with grpc.aio.insecure_channel(str(cell.client_address)) as channel:
        stream = await subscribed(channel, cell)
        stopping = asyncio.create_task(cell.stop())
        while not any(update.HasField("go_away") for update in (await stream.read()).updates):
            pass
        owner = await dial(str(cell.internal_address))
        outbox = Outbox("server")
        outbox.hello("owner", logs[0].incarnation, logs[0].partition_count)
        for partition in range(logs[0].partition_count):
            outbox.claim(partition, 1)
        owner.send(outbox.drain())
        await cell._server.wait_ready()
        await asyncio.sleep(0.1)
        assert await health(channel) == health_pb2.HealthCheckResponse.NOT_SERVING
        stream.cancel()
        await owner.close()
        await stopping


async def test_what_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    """A folder or a port in use is told, and both can be used once the other is gone."""
    first = CellProcess(settings(tmp_path))
    await first.start()
    with pytest.raises(CannotStart, match="in use by process"):
        await CellProcess(settings(tmp_path)).start()
    other = settings(tmp_path / "other", first.client_address)
    with pytest.raises(CannotStart, match=f"Cannot listen on {first.client_address}"):
        await CellProcess(other).start()
    await first.stop()
    second = CellProcess(other)
    await second.start()
    await second.stop()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_development_mode_serves_this_machine_only(tmp_path: Path, host: str) -> None:
    """Without keys only loopback addresses will do; with them any."""
    with pytest.raises(SettingsRefused, match="no keys are set"):
        CellProcess(settings(tmp_path, Address(host, 0)))
    CellProcess(Settings(listen=Address(host, 0), jwt_secret="s" * 32, insecure=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_addresses_are_this_machine(tmp_path: Path, host: str) -> None:
    """By number or by name."""
    CellProcess(settings(tmp_path, Address(host, 0)))


async def test_a_part_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the cell learns which part cannot go on; the cell can still be stopped in order."""

    async def fail(*_: object) -> None:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(HistoryConsumer, "_store", fail)
    cell = CellProcess(settings(tmp_path))
    await cell.start()
    await send(cell)
    with pytest.raises(CellFailed, match="history service cannot go on: the disk is gone"):
        await cell.wait_closed()
    await cell.stop()


async def test_reflection_shows_client_contracts_only(tmp_path: Path) -> None:
    """The client contracts can be asked for, those between the cell's own parts cannot."""
    cell = CellProcess(settings(tmp_path))
    await cell.start()
    asked = ("cell.messaging.v1.MessagingService", "cell.history.v1.HistoryService", "grpc.health.v1.Health")
    hidden = ("cell.log.v1.Record", "cell.delivery.v1.SessionLinkService")
    async with grpc.aio.insecure_channel(str(cell.client_address)) as channel:
        requests = [
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in (*asked, *hidden)
        ]
        reflect: Any = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        call = reflect(iter(requests))
        shown = [answer.HasField("file_descriptor_response") async for answer in call]
    assert shown == [True] * len(asked) + [False] * len(hidden)
    await cell.stop()
