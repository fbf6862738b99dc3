"""What a failed call says: its status, and google.rpc.Status details, read without any package beside protobuf.

The three messages are described here field by field, as far as they are used (https://google.aip.dev/193); they are in a
pool of their own, so that an application may have googleapis-common-protos as well.
"""

from contextlib import suppress
from typing import Any

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory
from google.protobuf.message import DecodeError

from messaging_client.errors import CallFailed, Reason
from messaging_client.steps import End
from messaging_client.wire import reason_named, seconds

_DETAILS_KEY = "grpc-status-details-bin"
_LIMIT_DIGITS = 20
"""More than a limit of the contract, an int64, has."""
_STRING, _INT32, _MESSAGE = 9, 5, 11  # FieldDescriptorProto.Type
_OPTIONAL, _REPEATED = 1, 3  # FieldDescriptorProto.Label


def _described() -> tuple[Any, Any, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="status_details.proto", package="google.rpc", syntax="proto3"
    )
    file.dependency.extend((any_pb2.DESCRIPTOR.name, duration_pb2.DESCRIPTOR.name))
    status = file.message_type.add(name="Status")
    status.field.add(name="code", number=1, type=_INT32, label=_OPTIONAL)
    status.field.add(name="message", number=2, type=_STRING, label=_OPTIONAL)
    status.field.add(
        name="details", number=3, type=_MESSAGE, label=_REPEATED, type_name=".google.protobuf.Any"
    )
    info = file.message_type.add(name="ErrorInfo")
    info.field.add(name="reason", number=1, type=_STRING, label=_OPTIONAL)
    info.field.add(name="domain", number=2, type=_STRING, label=_OPTIONAL)
    entry = info.nested_type.add(name="MetadataEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_STRING, label=_OPTIONAL)
    entry.field.add(name="value", number=2, type=_STRING, label=_OPTIONAL)
    entry_name = ".google.rpc.ErrorInfo.MetadataEntry"
    info.field.add(name="metadata", number=3, type=_MESSAGE, label=_REPEATED, type_name=entry_name)
    retry = file.message_type.add(name="RetryInfo")
    retry.field.add(
        name="retry_delay", number=1, type=_MESSAGE, label=_OPTIONAL, type_name=".google.protobuf.Duration"
    )
    pool: Any = descriptor_pool.DescriptorPool()  # its stubs have no types
    for known in (any_pb2, duration_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    names = ("google.rpc.Status", "google.rpc.ErrorInfo", "google.rpc.RetryInfo")
    found = [message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names]
    return found[0], found[1], found[2]


_Status, _ErrorInfo, _RetryInfo = _described()


def end_of(error: grpc.aio.AioRpcError) -> End:
    """How a call ended, as the protocol knows it."""
    info, retry_after_s = _details(error)
    reason = reason_named(info.reason) if info is not None else None
    return End(error.code().name, error.details() or "", reason, retry_after_s)


def failure_of(error: grpc.aio.AioRpcError) -> CallFailed:
    """A failed question, as an application sees it."""
    info, retry_after_s = _details(error)
    detail = error.details() or error.code().name
    if info is None:
        return CallFailed(_REASONS.get(error.code().name, Reason.OTHER), detail, retry_after_s=retry_after_s)
    limit = info.metadata.get("limit", "")
    return CallFailed(
        reason_named(info.reason),
        detail,
        field=info.metadata.get("field", ""),
        limit=int(limit) if limit.isdecimal() and len(limit) < _LIMIT_DIGITS else 0,
        retry_after_s=retry_after_s,
    )


_REASONS = {
    "UNAVAILABLE": Reason.UNAVAILABLE,
    "DEADLINE_EXCEEDED": Reason.DEADLINE,
    "UNAUTHENTICATED": Reason.TOKEN_INVALID,
    "PERMISSION_DENIED": Reason.NOT_ALLOWED,
    "UNIMPLEMENTED": Reason.UNSUPPORTED,
    "NOT_FOUND": Reason.NOT_FOUND,
}
"""For statuses that do not come from the cell itself, but from what stands between."""


def _details(error: grpc.aio.AioRpcError) -> tuple[Any, float | None]:
    """ErrorInfo, or None; and the seconds of RetryInfo, or None."""
    info, retry_after_s = None, None
    with suppress(DecodeError):  # whoever stands between may have put anything here
        for detail in _status(error).details:
            if detail.type_url.endswith("/google.rpc.ErrorInfo"):
                info = _ErrorInfo.FromString(detail.value)
            elif detail.type_url.endswith("/google.rpc.RetryInfo"):
                retry_after_s = seconds(_RetryInfo.FromString(detail.value).retry_delay)
    return info, retry_after_s


def _status(error: grpc.aio.AioRpcError) -> Any:
    """Raises DecodeError."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            return _Status.FromString(value)
    return _Status()
