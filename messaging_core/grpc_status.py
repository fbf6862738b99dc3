"""How a refusal looks on a unary call: a gRPC status with google.rpc.ErrorInfo details."""

from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from messaging_core.refusals import RULES, Refused, reason_name

DOMAIN = "messaging.cell"
"""ErrorInfo.domain of everything the cell refuses."""
_DETAILS_KEY = "grpc-status-details-bin"


async def abort(
    context: "grpc.aio.ServicerContext[Any, Any]", refused: Refused, status: grpc.StatusCode | None = None
) -> NoReturn:
    """End a unary call for this reason, with the reason's status unless another is given."""
    status = status or RULES[refused.reason].status
    await context.abort(status, refused.detail, ((_DETAILS_KEY, _details(refused, status)),))
    raise AssertionError("abort raises")


def status_name(context: "grpc.aio.ServicerContext[Any, Any]") -> str:
    """The status that a call was aborted with, by its name."""
    code = context.code()
    return next((each.name for each in grpc.StatusCode if code in (each, each.value[0])), "UNKNOWN")


def _details(refused: Refused, code: grpc.StatusCode) -> bytes:
    info = error_details_pb2.ErrorInfo(reason=reason_name(refused.reason), domain=DOMAIN)
    info.metadata["outcome"] = "NOT_DONE" if refused.outcome == 1 else "UNKNOWN"
    if refused.field:
        info.metadata["field"] = refused.field
    if refused.limit:
        info.metadata["limit"] = str(refused.limit)
    status = status_pb2.Status(code=code.value[0], message=refused.detail)
    status.details.append(_packed(info))
    if (seconds := refused.retry_seconds()) is not None:
        delay = duration_pb2.Duration()
        delay.FromMicroseconds(int(seconds * 1e6))
        status.details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status.SerializeToString()


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
