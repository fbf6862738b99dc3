from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AttachOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ATTACH_OUTCOME_UNSPECIFIED: _ClassVar[AttachOutcome]
    ATTACH_OUTCOME_ATTACHED: _ClassVar[AttachOutcome]
    ATTACH_OUTCOME_PARTIAL: _ClassVar[AttachOutcome]
    ATTACH_OUTCOME_BEHIND: _ClassVar[AttachOutcome]
    ATTACH_OUTCOME_NOT_OWNER: _ClassVar[AttachOutcome]
    ATTACH_OUTCOME_PAST_END: _ClassVar[AttachOutcome]
ATTACH_OUTCOME_UNSPECIFIED: AttachOutcome
ATTACH_OUTCOME_ATTACHED: AttachOutcome
ATTACH_OUTCOME_PARTIAL: AttachOutcome
ATTACH_OUTCOME_BEHIND: AttachOutcome
ATTACH_OUTCOME_NOT_OWNER: AttachOutcome
ATTACH_OUTCOME_PAST_END: AttachOutcome

class LinkRequest(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[OwnerMessage]
    def __init__(self, messages: _Optional[_Iterable[_Union[OwnerMessage, _Mapping]]] = ...) -> None: ...

class LinkResponse(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[ServerMessage]
    def __init__(self, messages: _Optional[_Iterable[_Union[ServerMessage, _Mapping]]] = ...) -> None: ...

class OwnerMessage(_message.Message):
    __slots__ = ("hello", "claim", "release", "routed", "attach_reply", "through", "conflict_notice")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    ROUTED_FIELD_NUMBER: _ClassVar[int]
    ATTACH_REPLY_FIELD_NUMBER: _ClassVar[int]
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_NOTICE_FIELD_NUMBER: _ClassVar[int]
    hello: LinkHello
    claim: Claim
    release: Release
    routed: Routed
    attach_reply: AttachReply
    through: Through
    conflict_notice: ConflictNotice
    def __init__(self, hello: _Optional[_Union[LinkHello, _Mapping]] = ..., claim: _Optional[_Union[Claim, _Mapping]] = ..., release: _Optional[_Union[Release, _Mapping]] = ..., routed: _Optional[_Union[Routed, _Mapping]] = ..., attach_reply: _Optional[_Union[AttachReply, _Mapping]] = ..., through: _Optional[_Union[Through, _Mapping]] = ..., conflict_notice: _Optional[_Union[ConflictNotice, _Mapping]] = ...) -> None: ...

class ServerMessage(_message.Message):
    __slots__ = ("attach", "detach")
    ATTACH_FIELD_NUMBER: _ClassVar[int]
    DETACH_FIELD_NUMBER: _ClassVar[int]
    attach: Attach
    detach: Detach
    def __init__(self, attach: _Optional[_Union[Attach, _Mapping]] = ..., detach: _Optional[_Union[Detach, _Mapping]] = ...) -> None: ...

class LinkHello(_message.Message):
    __slots__ = ("instance_id", "log_incarnation", "partition_count")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    LOG_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    PARTITION_COUNT_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    log_incarnation: str
    partition_count: int
    def __init__(self, instance_id: _Optional[str] = ..., log_incarnation: _Optional[str] = ..., partition_count: _Optional[int] = ...) -> None: ...

class Claim(_message.Message):
    __slots__ = ("partition", "generation")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    partition: int
    generation: int
    def __init__(self, partition: _Optional[int] = ..., generation: _Optional[int] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("partition",)
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    partition: int
    def __init__(self, partition: _Optional[int] = ...) -> None: ...

class Routed(_message.Message):
    __slots__ = ("partition", "event", "user_numbers", "everyone", "traceparent")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    USER_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    EVERYONE_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    partition: int
    event: RoutedEvent
    user_numbers: _containers.RepeatedScalarFieldContainer[int]
    everyone: bool
    traceparent: str
    def __init__(self, partition: _Optional[int] = ..., event: _Optional[_Union[RoutedEvent, _Mapping]] = ..., user_numbers: _Optional[_Iterable[int]] = ..., everyone: bool = ..., traceparent: _Optional[str] = ...) -> None: ...

class RoutedEvent(_message.Message):
    __slots__ = ("offset", "piece", "event_time_us", "direct_ref", "sender_id")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_US_FIELD_NUMBER: _ClassVar[int]
    DIRECT_REF_FIELD_NUMBER: _ClassVar[int]
    SENDER_ID_FIELD_NUMBER: _ClassVar[int]
    offset: int
    piece: bytes
    event_time_us: int
    direct_ref: bytes
    sender_id: str
    def __init__(self, offset: _Optional[int] = ..., piece: _Optional[bytes] = ..., event_time_us: _Optional[int] = ..., direct_ref: _Optional[bytes] = ..., sender_id: _Optional[str] = ...) -> None: ...

class Attach(_message.Message):
    __slots__ = ("partition", "user_id", "user_number", "session_number", "attempt", "after_offset", "credit_bytes")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_NUMBER_FIELD_NUMBER: _ClassVar[int]
    SESSION_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    AFTER_OFFSET_FIELD_NUMBER: _ClassVar[int]
    CREDIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    partition: int
    user_id: str
    user_number: int
    session_number: int
    attempt: int
    after_offset: int
    credit_bytes: int
    def __init__(self, partition: _Optional[int] = ..., user_id: _Optional[str] = ..., user_number: _Optional[int] = ..., session_number: _Optional[int] = ..., attempt: _Optional[int] = ..., after_offset: _Optional[int] = ..., credit_bytes: _Optional[int] = ...) -> None: ...

class Detach(_message.Message):
    __slots__ = ("partition", "user_number")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    USER_NUMBER_FIELD_NUMBER: _ClassVar[int]
    partition: int
    user_number: int
    def __init__(self, partition: _Optional[int] = ..., user_number: _Optional[int] = ...) -> None: ...

class AttachReply(_message.Message):
    __slots__ = ("partition", "session_number", "attempt", "outcome", "events", "through_offset", "through_time_us")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SESSION_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    THROUGH_OFFSET_FIELD_NUMBER: _ClassVar[int]
    THROUGH_TIME_US_FIELD_NUMBER: _ClassVar[int]
    partition: int
    session_number: int
    attempt: int
    outcome: AttachOutcome
    events: _containers.RepeatedCompositeFieldContainer[RoutedEvent]
    through_offset: int
    through_time_us: int
    def __init__(self, partition: _Optional[int] = ..., session_number: _Optional[int] = ..., attempt: _Optional[int] = ..., outcome: _Optional[_Union[AttachOutcome, str]] = ..., events: _Optional[_Iterable[_Union[RoutedEvent, _Mapping]]] = ..., through_offset: _Optional[int] = ..., through_time_us: _Optional[int] = ...) -> None: ...

class Through(_message.Message):
    __slots__ = ("partition", "offset", "time_us")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TIME_US_FIELD_NUMBER: _ClassVar[int]
    partition: int
    offset: int
    time_us: int
    def __init__(self, partition: _Optional[int] = ..., offset: _Optional[int] = ..., time_us: _Optional[int] = ...) -> None: ...

class ConflictNotice(_message.Message):
    __slots__ = ("partition", "user_number", "command_id")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    USER_NUMBER_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    partition: int
    user_number: int
    command_id: str
    def __init__(self, partition: _Optional[int] = ..., user_number: _Optional[int] = ..., command_id: _Optional[str] = ...) -> None: ...
