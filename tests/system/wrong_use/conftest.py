"""A cell that asks for an issuer and an audience, and clients of it with tokens that are right."""

from collections.abc import Iterator

import grpc
import pytest

from cell.history.v1 import history_pb2 as history
from cell.history.v1 import history_pb2_grpc
from check.calls import bearer
from check.plain_client import PlainClient
from check.plain_outbox import new_id
from event_log.partitioner import partition_for
from messaging_core.cursor import decode_cursor
from tests.system.cell_process import CellProcess
from tests.system.conftest import Connect
from tests.system.wrong_use.commands import Caller
from tests.system.wrong_use.tokens import AUDIENCE, ISSUER, signed

PARTITIONS = 16


@pytest.fixture(scope="module")
def cell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CellProcess]:
    """A cell of the module, with its SETTINGS."""
    settings: dict[str, object] = {
        "jwt_issuer": ISSUER,
        "jwt_audience": AUDIENCE,
        "partitions": PARTITIONS,
        **getattr(request.module, "SETTINGS", {}),
    }
    with CellProcess(tmp_path_factory.mktemp("cell"), settings) as running:
        yield running
        assert "Traceback" not in running.output


@pytest.fixture
def connect(cell: CellProcess) -> Connect:
    """Gives a function that makes clients of the module's cell, by user id."""

    def make(user_id: str, **options: object) -> PlainClient:
        return PlainClient(cell.address, user_id, signed, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="module")
def incarnation(cell: CellProcess) -> bytes:
    """What stands for the cell's log in cursors."""
    with grpc.insecure_channel(cell.address) as channel:
        stub = history_pb2_grpc.HistoryServiceStub(channel)
        request = history.ListConversationsRequest()
        page = stub.ListConversations(request, metadata=bearer(signed("anyone")), wait_for_ready=True)
    return decode_cursor(page.cursor).incarnation


@pytest.fixture
def caller(incarnation: bytes) -> Caller:
    """A user of one test alone."""
    user_id = new_id()
    partition = partition_for(user_id, PARTITIONS)
    return Caller(user_id, incarnation, partition, (partition + 1) % PARTITIONS)
