"""The History API on a real server, and a client of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from cell.history.v1 import history_pb2_grpc
from event_log.embedded import EmbeddedLog, EmbeddedLogSettings
from history_service.api import HistoryApi
from history_service.embedded import EmbeddedStore
from history_service.port import HistoryStore
from history_service.settings import HistorySettings
from messaging_core.identity import Identity, TokenInvalid
from messaging_core.limits import Limits
from tests.history_service.written import SHARED_ABOVE, WrittenLog

SETTINGS = HistorySettings(limits=Limits(max_mark_participants=SHARED_ABOVE, max_recipients=10))


class NamedByToken:
    """Takes `token-of-USER` as USER's token."""

    def verify(self, token: str) -> Identity:
        if not token.startswith("token-of-"):
            raise TokenInvalid("the token does not hold")
        return Identity(token.removeprefix("token-of-"), None)


@dataclass
class Served:
    """A running service, and the log that its store is to be written from."""

    made: WrittenLog
    log: EmbeddedLog
    store: HistoryStore
    channel: grpc.aio.Channel

    @property
    def stub(self) -> Any:
        """Generated, without types."""
        return history_pb2_grpc.HistoryServiceStub(self.channel)


@asynccontextmanager
async def served(
    settings: HistorySettings = SETTINGS, store: HistoryStore | None = None
) -> AsyncIterator[Served]:
    """Serve an empty history on a free port."""
    with TemporaryDirectory() as folder:
        path = Path(folder)
        log = await EmbeddedLog.open(path / "log", 4, EmbeddedLogSettings(reserve_bytes=4096))
        opened = store or await EmbeddedStore.open(path / "history")
        server = grpc.aio.server()
        HistoryApi(opened, log, NamedByToken(), settings).add_to(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield Served(WrittenLog(4, log.incarnation), log, opened, channel)
        finally:
            await server.stop(None)
            await opened.close()
            await log.close()


def of(user: str) -> tuple[tuple[str, str], ...]:
    """Call metadata with the user's token."""
    return (("authorization", f"Bearer token-of-{user}"),)


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The details of a refusal."""
    metadata = error.trailing_metadata()
    assert metadata is not None
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])  # type: ignore[arg-type]
    assert status.code == error.code().value[0]
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info
