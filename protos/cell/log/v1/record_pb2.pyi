from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_KIND_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_KIND_MESSAGE: _ClassVar[EventKind]
    EVENT_KIND_REACTION_CHANGED: _ClassVar[EventKind]
    EVENT_KIND_RECEIVED_MARK: _ClassVar[EventKind]
    EVENT_KIND_READ_MARK: _ClassVar[EventKind]
EVENT_KIND_UNSPECIFIED: EventKind
EVENT_KIND_MESSAGE: EventKind
EVENT_KIND_REACTION_CHANGED: EventKind
EVENT_KIND_RECEIVED_MARK: EventKind
EVENT_KIND_READ_MARK: EventKind

class Record(_message.Message):
    __slots__ = ("origin", "copy")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    COPY_FIELD_NUMBER: _ClassVar[int]
    origin: Origin
    copy: Copy
    def __init__(self, origin: _Optional[_Union[Origin, _Mapping]] = ..., copy: _Optional[_Union[Copy, _Mapping]] = ...) -> None: ...

class LoggedEvent(_message.Message):
    __slots__ = ("kind", "sender_id", "conversation_id", "participant_count", "event_time_us", "event")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SENDER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_COUNT_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_US_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    kind: EventKind
    sender_id: str
    conversation_id: str
    participant_count: int
    event_time_us: int
    event: bytes
    def __init__(self, kind: _Optional[_Union[EventKind, str]] = ..., sender_id: _Optional[str] = ..., conversation_id: _Optional[str] = ..., participant_count: _Optional[int] = ..., event_time_us: _Optional[int] = ..., event: _Optional[bytes] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("logged", "command_id", "payload_digest", "participant_ids", "traceparent")
    LOGGED_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_IDS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    logged: LoggedEvent
    command_id: str
    payload_digest: int
    participant_ids: _containers.RepeatedScalarFieldContainer[str]
    traceparent: str
    def __init__(self, logged: _Optional[_Union[LoggedEvent, _Mapping]] = ..., command_id: _Optional[str] = ..., payload_digest: _Optional[int] = ..., participant_ids: _Optional[_Iterable[str]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class Copy(_message.Message):
    __slots__ = ("logged", "source_partition", "source_offset", "previous_offset", "recipient_ids", "traceparent")
    LOGGED_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PARTITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_OFFSET_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_IDS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    logged: LoggedEvent
    source_partition: int
    source_offset: int
    previous_offset: int
    recipient_ids: _containers.RepeatedScalarFieldContainer[str]
    traceparent: str
    def __init__(self, logged: _Optional[_Union[LoggedEvent, _Mapping]] = ..., source_partition: _Optional[int] = ..., source_offset: _Optional[int] = ..., previous_offset: _Optional[int] = ..., recipient_ids: _Optional[_Iterable[str]] = ..., traceparent: _Optional[str] = ...) -> None: ...
