"""How a failed call is read: with the cell's details, with none, and with nonsense."""

import grpc
import grpc.aio
import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client import status
from messaging_client.errors import Reason
from messaging_core.grpc_status import abort
from messaging_core.refusals import Refused


class Context:
    """Takes down how a call is ended."""

    trailing: tuple[tuple[str, bytes], ...] = ()

    async def abort(
        self, code: grpc.StatusCode, detail: str, trailing: tuple[tuple[str, bytes], ...]
    ) -> None:
        self.trailing = trailing
        raise InterruptedError


def error(code: grpc.StatusCode, details: bytes | None) -> grpc.aio.AioRpcError:
    trailing = () if details is None else (("grpc-status-details-bin", details),)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), "no")


async def test_what_the_cell_says_is_read_whole() -> None:
    """Reason, field, limit and retry hint come through as the cell wrote them."""
    refused = Refused(
        messaging.REJECTED_REASON_RATE_LIMITED, "slower", field="page_size", limit=7, retry_after_s=1.5
    )
    context = Context()
    with pytest.raises(InterruptedError):
        await abort(context, refused)  # type: ignore[arg-type]
    ((_, details),) = context.trailing
    failed = status.failure_of(error(grpc.StatusCode.RESOURCE_EXHAUSTED, details))
    assert (failed.reason, failed.field, failed.limit) == (Reason.RATE_LIMITED, "page_size", 7)
    assert failed.retry_after_s == 1.5
    end = status.end_of(error(grpc.StatusCode.RESOURCE_EXHAUSTED, details))
    assert (end.code, end.reason, end.retry_after_s) == ("RESOURCE_EXHAUSTED", Reason.RATE_LIMITED, 1.5)


@pytest.mark.parametrize("details", [None, b"", b"\xff\xff\xff"])
def test_without_details_the_status_says_what_it_can(details: bytes | None) -> None:
    """A proxy's status has no ErrorInfo, or anything at all in its place."""
    failed = status.failure_of(error(grpc.StatusCode.UNAVAILABLE, details))
    assert (failed.reason, failed.detail, failed.field) == (Reason.UNAVAILABLE, "no", "")
    assert status.failure_of(error(grpc.StatusCode.DATA_LOSS, details)).reason is Reason.OTHER
    assert status.end_of(error(grpc.StatusCode.UNAVAILABLE, details)).reason is None
