"""What the cell answers to a wrong input: one value that says how to check it, and how docs/errors.md tells it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.refusals import RULES, reason_name

NOT_ALLOWED = messaging.REJECTED_REASON_NOT_ALLOWED
NOT_DONE, UNKNOWN = messaging.REJECTED_OUTCOME_NOT_DONE, messaging.REJECTED_OUTCOME_UNKNOWN
INVALID = messaging.REJECTED_REASON_INVALID_FIELD
TOO_LARGE = messaging.REJECTED_REASON_TOO_LARGE
NOT_FOUND = messaging.REJECTED_REASON_NOT_FOUND
CURSOR_INVALID = messaging.REJECTED_REASON_CURSOR_INVALID
TOKEN_INVALID = messaging.REJECTED_REASON_TOKEN_INVALID
UNSUPPORTED = messaging.REJECTED_REASON_UNSUPPORTED
UNAVAILABLE = messaging.REJECTED_REASON_UNAVAILABLE
RATE_LIMITED = messaging.REJECTED_REASON_RATE_LIMITED
TOO_MANY_IN_FLIGHT = messaging.REJECTED_REASON_TOO_MANY_IN_FLIGHT
DEADLINE = messaging.REJECTED_REASON_DEADLINE
TOO_MANY_RECIPIENTS = messaging.REJECTED_REASON_TOO_MANY_RECIPIENTS
CONFLICT = messaging.REJECTED_REASON_MESSAGE_ID_CONFLICT
DOMAIN = "messaging.cell"
_OUTCOMES = {NOT_DONE: "NOT_DONE", UNKNOWN: "UNKNOWN"}
_TELLING = ("protobuf", "Traceback", "Error", "Exception", "cell.messaging", "None", "sqlite")
"""What no text for a client may hold: how the cell is made."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How the cell says no."""

    reason: "messaging.RejectedReason"
    field: str = ""
    limit: int | str = 0
    """A number, or the name of one in Welcome.limits or the settings."""
    status: StatusCode | None = None
    """None = that of the reason."""
    ends: bool | None = False
    """Whether the stream ends; None where there is none."""
    outcome: "messaging.RejectedOutcome" = NOT_DONE
    hint: bool | None = None
    """Whether it says when to try again; None = as the reason does."""

    @property
    def code(self) -> StatusCode:
        """The status of a call, or of a stream that ends."""
        return self.status or RULES[self.reason].status

    @property
    def has_hint(self) -> bool:
        """Whether it says when to try again."""
        return RULES[self.reason].retry_after_s is not None if self.hint is None else self.hint

    def check_rejected(self, rejected: messaging.Rejected, limits: object = None) -> None:
        """It is this answer, as an outcome of one command."""
        assert (rejected.reason, rejected.field) == (self.reason, self.field), rejected
        assert rejected.outcome == self.outcome
        assert rejected.HasField("retry_after") is self.has_hint
        self._check_limit(rejected.limit, limits)
        _check_detail(rejected.detail)

    def check_error(self, error: grpc.aio.AioRpcError, limits: object = None) -> None:
        """It is this answer, as the status of a call. Nothing else was in flight there."""
        alone = replace(self, outcome=NOT_DONE)
        alone.check_end(error.code(), error.details() or "", error.trailing_metadata() or (), limits)

    def check_end(
        self,
        code: StatusCode,
        detail: str,
        trailing: Iterable[tuple[str, str | bytes]],
        limits: object = None,
    ) -> None:
        """It is this answer, as the end of a stream."""
        assert code == self.code, detail
        _check_detail(detail)
        (encoded,) = [value for key, value in trailing if key == "grpc-status-details-bin"]
        status = status_pb2.Status.FromString(encoded)  # type: ignore[arg-type]
        assert (status.code, status.message) == (code.value[0], detail)
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        assert all(detail.Unpack(info) or detail.Unpack(retry) for detail in status.details)
        assert (info.domain, info.reason) == (DOMAIN, reason_name(self.reason)), info
        assert info.metadata.get("field", "") == self.field
        assert info.metadata["outcome"] == _OUTCOMES[self.outcome]
        assert (len(status.details) == 2) is self.has_hint
        self._check_limit(int(info.metadata.get("limit", "0")), limits)

    def told(self) -> tuple[str, ...]:
        """The columns of docs/errors.md: reason, field, limit, status, stream, outcome, whether there is a hint."""
        limit = f"{self.limit:,}" if isinstance(self.limit, int) else f"`{self.limit}`"
        return (
            f"`{reason_name(self.reason)}`",
            f"`{self.field}`" if self.field else "",
            limit if self.limit else "",
            f"`{self.code.name}`",
            {True: "ends", False: "goes on", None: ""}[self.ends],
            "not done" if self.outcome == NOT_DONE else "unknown",
            "yes" if self.has_hint else "",
        )

    def _check_limit(self, limit: int, limits: object) -> None:
        if isinstance(self.limit, int):
            assert limit == self.limit
        else:
            assert limit == getattr(limits, self.limit)


def ending(
    reason: "messaging.RejectedReason",
    field: str = "",
    limit: int | str = 0,
    *,
    status: StatusCode | None = None,
    opened: bool = True,
    hint: bool | None = None,
) -> Answer:
    """How a stream ends. `opened`: after its welcome, so that commands may be in flight."""
    if opened:
        return Answer(reason, field, limit, status, True, UNKNOWN, hint)
    return Answer(reason, field, limit, status, ends=True, hint=hint)


def _check_detail(detail: str) -> None:
    assert detail
    assert not [word for word in _TELLING if word in detail], detail
