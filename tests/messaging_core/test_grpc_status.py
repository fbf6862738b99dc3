"""How a refusal looks on a unary call."""

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.grpc_status import DOMAIN, abort
from messaging_core.refusals import RULES, Refused, reason_name


class Aborted(Exception):
    pass


class Context:
    """Takes what a call would be ended with."""

    def __init__(self) -> None:
        self.ended: tuple[Any, ...] = ()

    async def abort(self, *ended: Any) -> None:
        self.ended = ended
        raise Aborted


async def details(refused: Refused) -> tuple[grpc.StatusCode, status_pb2.Status]:
    context = Context()
    with pytest.raises(Aborted):
        await abort(context, refused)  # type: ignore[arg-type]
    code, message, metadata = context.ended
    assert message == refused.detail
    ((key, value),) = metadata
    assert key == "grpc-status-details-bin"
    return code, status_pb2.Status.FromString(value)


@pytest.mark.parametrize("reason", RULES, ids=reason_name)
async def test_every_reason_has_its_status_and_details(reason: int) -> None:
    """The status is the rule's, in the call and in the details; ErrorInfo names the reason; RetryInfo comes with a time."""
    code, status = await details(Refused(reason, "because"))  # type: ignore[arg-type]
    assert code is RULES[reason].status
    assert (status.code, status.message) == (code.value[0], "because")
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason_name(reason), DOMAIN)
    assert dict(info.metadata) == {"outcome": "NOT_DONE"}
    assert len(status.details) == 1 + (RULES[reason].retry_after_s is not None)


async def test_field_limit_outcome_and_time_are_told() -> None:
    """What a refusal knows beside its reason is in ErrorInfo.metadata and RetryInfo."""
    _, status = await details(
        Refused(
            messaging.REJECTED_REASON_UNAVAILABLE,
            "full",
            field="content.text",
            limit=5,
            outcome=messaging.REJECTED_OUTCOME_UNKNOWN,
            retry_after_s=2.5,
        )
    )
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    assert dict(info.metadata) == {"outcome": "UNKNOWN", "field": "content.text", "limit": "5"}
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay.ToTimedelta().total_seconds() == 2.5
