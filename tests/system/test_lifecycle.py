"""A cell starts, says how it is, and stops, as its user expects."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cell.messaging.v1 import messaging_pb2 as messaging
from check.ledger import Moved, session_violations
from check.plain_client import PlainClient
from check.plain_outbox import text_message
from tests.system.cell_process import CellProcess, token

SERVING = health_pb2.HealthCheckResponse.SERVING

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[CellProcess]:
    """A cell of its own for a test."""
    with CellProcess(tmp_path) as running:
        yield running


def test_it_comes_up_and_says_so(tmp_path: Path) -> None:
    """`cell run` serves when it says so, on a new folder and on one in use."""
    cell = CellProcess(tmp_path)
    for _ in range(2):
        with cell:
            assert cell.health() == SERVING


def test_health_names_the_client_services(fresh: CellProcess) -> None:
    """grpc.health.v1 answers for the server and for each client service; NOT_FOUND for what there is not."""
    for service in ("", "cell.messaging.v1.MessagingService", "cell.history.v1.HistoryService"):
        assert fresh.health(service) == SERVING
    with pytest.raises(grpc.RpcError) as caught:
        fresh.health("no.such.Service")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def _reflect(
    cell: CellProcess, *requests: reflection_pb2.ServerReflectionRequest
) -> list[reflection_pb2.ServerReflectionResponse]:
    with grpc.insecure_channel(cell.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        return list(stub.ServerReflectionInfo(iter(requests), timeout=30))  # type: ignore[operator]


def test_reflection_lists_client_services_only(fresh: CellProcess) -> None:
    """Reflection on the client port shows the client services with their messages, and nothing of the cell's inside."""
    (answer,) = _reflect(fresh, reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {service.name for service in answer.list_services_response.service}
    clients = {"cell.messaging.v1.MessagingService", "cell.history.v1.HistoryService"}
    assert clients <= names
    assert names - clients <= {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "grpc.reflection.v1.ServerReflection",
    }
    for name in clients:
        (answer,) = _reflect(fresh, reflection_pb2.ServerReflectionRequest(file_containing_symbol=name))
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(encoded)
            for encoded in answer.file_descriptor_response.file_descriptor_proto
        ]
        assert any(f"{file.package}.{service.name}" == name for file in files for service in file.service)


async def test_ctrl_c_is_clean(fresh: CellProcess) -> None:
    """Ctrl-C: streams get GoAway DRAIN, what was in flight its outcome; the exit code is 0, without a traceback."""
    async with (
        PlainClient(fresh.address, "ann", token, reconnects=False) as ann,
        PlainClient(fresh.address, "ann", token, transport="subscribe", reconnects=False) as browser,
        PlainClient(fresh.address, "bob", token, reconnects=False) as bob,
    ):
        for client in (ann, browser, bob):
            await client.until_resumed()
        submissions = [ann.submit(text_message(str(n), ["bob"])) for n in range(50)]
        await ann.settle(submissions[0])
        fresh.interrupt()
        for client in (ann, browser, bob):
            assert await client.until_ended() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK)
            assert [go_away.reason for go_away in client.go_aways] == [messaging.GO_AWAY_REASON_DRAIN]
            assert client.go_aways[0].HasField("reconnect_after")
            assert client.go_aways[0].HasField("close_time")
        assert await asyncio.to_thread(fresh.wait_exit) == 0
        assert "Traceback" not in fresh.output
        assert ann.strays == []
        await asyncio.to_thread(fresh.start)
        async with PlainClient(
            fresh.address, "bob", token, resume_after=bob.cursor, ledger=bob.ledger
        ) as again:
            await again.until_resumed()
            accepted = [("ann", s.id) for s in submissions if s.accepted]
            assert set(accepted) <= again.ledger.names
            assert not again.ledger.names - {("ann", s.id) for s in submissions if s.accepted or s.tries}


async def test_a_service_manager_stops_it_as_cleanly(fresh: CellProcess) -> None:
    """SIGTERM does what Ctrl-C does."""
    async with PlainClient(fresh.address, "ann", token, reconnects=False) as ann:
        await ann.until_resumed()
        fresh.interrupt(signal.SIGTERM)
        await ann.until_ended()
        assert [go_away.reason for go_away in ann.go_aways] == [messaging.GO_AWAY_REASON_DRAIN]
        assert await asyncio.to_thread(fresh.wait_exit) == 0
        assert "Traceback" not in fresh.output


async def test_it_goes_on_where_it_was(fresh: CellProcess) -> None:
    """Stopped and started again, by Ctrl-C and by kill -9: clients reconnect by themselves and have each event once."""
    async with (
        PlainClient(fresh.address, "ann", token) as ann,
        PlainClient(fresh.address, "bob", token) as bob,
    ):
        for stop in (fresh.stop, fresh.kill, fresh.stop):
            await ann.send("before", ["bob"])
            await asyncio.to_thread(stop)
            await asyncio.to_thread(fresh.start)
        last = await ann.send("last", ["bob"])
        await bob.message("ann", last.ref.message_id)
        assert session_violations(ann.ledger.events, ann.ledger) == []
        assert len(bob.ledger.events) == len(ann.ledger.events) == 4
        assert any(isinstance(step, Moved) for step in bob.ledger.steps)


async def test_without_keys_it_is_in_development_mode(tmp_path: Path) -> None:
    """Without keys it says so, and where its data is; `cell token USER` makes tokens that it takes."""
    with CellProcess(tmp_path, {"jwt_secret": None}) as cell:
        assert "development" in cell.output.lower()
        assert str(cell.data_folder) in cell.output
        made = (await asyncio.to_thread(cell.run_command, "token", "ann")).strip().splitlines()[-1]
        async with PlainClient(cell.address, "ann", lambda _: made) as ann:
            assert ann.welcome is not None
            assert ann.welcome.user_id == "ann"
            await ann.send("note", ["ann"])
        await asyncio.to_thread(cell.stop)
        await asyncio.to_thread(cell.start)
        async with PlainClient(cell.address, "ann", lambda _: made) as ann:
            await ann.until_resumed()
            assert len(ann.ledger.events) == 1
        async with PlainClient(cell.address, "ann", token, reconnects=False) as forged:
            assert await forged.until_ended() == grpc.StatusCode.UNAUTHENTICATED


def test_two_cells_do_not_share_a_folder(fresh: CellProcess, tmp_path: Path) -> None:
    """A second cell on the same folder is refused at start, by a message and not a traceback; the first goes on."""
    second = CellProcess(tmp_path / "second", {"data_folder": fresh.data_folder})
    second.start(wait=False)
    try:
        assert second.wait_exit() != 0
    finally:
        second.kill()
    assert str(fresh.data_folder) in second.output
    assert "Traceback" not in second.output
    assert fresh.health() == SERVING


def test_two_cells_do_not_share_a_port(fresh: CellProcess, tmp_path: Path) -> None:
    """A second cell on the same port is refused at start; it does not take some of the first one's clients."""
    second = CellProcess(tmp_path / "second", {"listen": fresh.address})
    second.start(wait=False)
    try:
        assert second.wait_exit() != 0
    finally:
        second.kill()
    assert fresh.address in second.output
    assert "Traceback" not in second.output


def test_a_bad_setting_is_refused_by_name(tmp_path: Path) -> None:
    """A value that is not allowed, and a setting that there is not, are refused at start with their names."""
    for name, value in (("partitions", "many"), ("no_such_setting", "1")):
        cell = CellProcess(tmp_path / name, {name: value})
        cell.start(wait=False)
        try:
            assert cell.wait_exit() != 0
        finally:
            cell.kill()
        assert name.upper() in cell.output.upper()
        assert "Traceback" not in cell.output


async def test_settings_reach_the_client(fresh: CellProcess) -> None:
    """Welcome tells the limits that were set, the user of the token, and the server's clock."""
    await asyncio.to_thread(fresh.stop)
    fresh.settings |= {"max_content_bytes": 1_000, "max_recipients": 7, "cell_id": "cell-7"}
    await asyncio.to_thread(fresh.start)
    async with PlainClient(fresh.address, "ann", token) as ann:
        assert ann.welcome is not None
        assert ann.welcome.cell_id == "cell-7"
        assert ann.welcome.user_id == "ann"
        assert (ann.welcome.limits.max_content_bytes, ann.welcome.limits.max_recipients) == (1_000, 7)
        assert ann.welcome.limits.retry_window.seconds > 0
        assert abs(ann.welcome.server_time.seconds - time.time()) < 60
        assert ann.welcome.HasField("token_expire_time")
