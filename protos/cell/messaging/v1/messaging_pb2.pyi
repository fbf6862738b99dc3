from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NotifyLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NOTIFY_LEVEL_UNSPECIFIED: _ClassVar[NotifyLevel]
    NOTIFY_LEVEL_SILENT: _ClassVar[NotifyLevel]
    NOTIFY_LEVEL_NORMAL: _ClassVar[NotifyLevel]
    NOTIFY_LEVEL_URGENT: _ClassVar[NotifyLevel]

class ResumeOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESUME_OUTCOME_UNSPECIFIED: _ClassVar[ResumeOutcome]
    RESUME_OUTCOME_LIVE: _ClassVar[ResumeOutcome]
    RESUME_OUTCOME_RESUMED: _ClassVar[ResumeOutcome]
    RESUME_OUTCOME_RESET: _ClassVar[ResumeOutcome]

class RejectedReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REJECTED_REASON_UNSPECIFIED: _ClassVar[RejectedReason]
    REJECTED_REASON_INVALID_FIELD: _ClassVar[RejectedReason]
    REJECTED_REASON_TOO_LARGE: _ClassVar[RejectedReason]
    REJECTED_REASON_TOO_MANY_RECIPIENTS: _ClassVar[RejectedReason]
    REJECTED_REASON_RATE_LIMITED: _ClassVar[RejectedReason]
    REJECTED_REASON_TOO_MANY_IN_FLIGHT: _ClassVar[RejectedReason]
    REJECTED_REASON_NOT_FOUND: _ClassVar[RejectedReason]
    REJECTED_REASON_NOT_ALLOWED: _ClassVar[RejectedReason]
    REJECTED_REASON_MESSAGE_ID_CONFLICT: _ClassVar[RejectedReason]
    REJECTED_REASON_RETRY_TOO_OLD: _ClassVar[RejectedReason]
    REJECTED_REASON_CURSOR_INVALID: _ClassVar[RejectedReason]
    REJECTED_REASON_TOKEN_INVALID: _ClassVar[RejectedReason]
    REJECTED_REASON_UNSUPPORTED: _ClassVar[RejectedReason]
    REJECTED_REASON_UNAVAILABLE: _ClassVar[RejectedReason]
    REJECTED_REASON_DEADLINE: _ClassVar[RejectedReason]

class RejectedOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REJECTED_OUTCOME_UNSPECIFIED: _ClassVar[RejectedOutcome]
    REJECTED_OUTCOME_NOT_DONE: _ClassVar[RejectedOutcome]
    REJECTED_OUTCOME_UNKNOWN: _ClassVar[RejectedOutcome]

class GoAwayReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GO_AWAY_REASON_UNSPECIFIED: _ClassVar[GoAwayReason]
    GO_AWAY_REASON_DRAIN: _ClassVar[GoAwayReason]
    GO_AWAY_REASON_TOKEN_EXPIRING: _ClassVar[GoAwayReason]
    GO_AWAY_REASON_REVOKED: _ClassVar[GoAwayReason]
    GO_AWAY_REASON_MAX_AGE: _ClassVar[GoAwayReason]
    GO_AWAY_REASON_SLOW_CONSUMER: _ClassVar[GoAwayReason]
NOTIFY_LEVEL_UNSPECIFIED: NotifyLevel
NOTIFY_LEVEL_SILENT: NotifyLevel
NOTIFY_LEVEL_NORMAL: NotifyLevel
NOTIFY_LEVEL_URGENT: NotifyLevel
RESUME_OUTCOME_UNSPECIFIED: ResumeOutcome
RESUME_OUTCOME_LIVE: ResumeOutcome
RESUME_OUTCOME_RESUMED: ResumeOutcome
RESUME_OUTCOME_RESET: ResumeOutcome
REJECTED_REASON_UNSPECIFIED: RejectedReason
REJECTED_REASON_INVALID_FIELD: RejectedReason
REJECTED_REASON_TOO_LARGE: RejectedReason
REJECTED_REASON_TOO_MANY_RECIPIENTS: RejectedReason
REJECTED_REASON_RATE_LIMITED: RejectedReason
REJECTED_REASON_TOO_MANY_IN_FLIGHT: RejectedReason
REJECTED_REASON_NOT_FOUND: RejectedReason
REJECTED_REASON_NOT_ALLOWED: RejectedReason
REJECTED_REASON_MESSAGE_ID_CONFLICT: RejectedReason
REJECTED_REASON_RETRY_TOO_OLD: RejectedReason
REJECTED_REASON_CURSOR_INVALID: RejectedReason
REJECTED_REASON_TOKEN_INVALID: RejectedReason
REJECTED_REASON_UNSUPPORTED: RejectedReason
REJECTED_REASON_UNAVAILABLE: RejectedReason
REJECTED_REASON_DEADLINE: RejectedReason
REJECTED_OUTCOME_UNSPECIFIED: RejectedOutcome
REJECTED_OUTCOME_NOT_DONE: RejectedOutcome
REJECTED_OUTCOME_UNKNOWN: RejectedOutcome
GO_AWAY_REASON_UNSPECIFIED: GoAwayReason
GO_AWAY_REASON_DRAIN: GoAwayReason
GO_AWAY_REASON_TOKEN_EXPIRING: GoAwayReason
GO_AWAY_REASON_REVOKED: GoAwayReason
GO_AWAY_REASON_MAX_AGE: GoAwayReason
GO_AWAY_REASON_SLOW_CONSUMER: GoAwayReason

class ConnectRequest(_message.Message):
    __slots__ = ("commands",)
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    commands: _containers.RepeatedCompositeFieldContainer[Command]
    def __init__(self, commands: _Optional[_Iterable[_Union[Command, _Mapping]]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("updates",)
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    updates: _containers.RepeatedCompositeFieldContainer[Update]
    def __init__(self, updates: _Optional[_Iterable[_Union[Update, _Mapping]]] = ...) -> None: ...

class SubscribeRequest(_message.Message):
    __slots__ = ("hello",)
    HELLO_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ...) -> None: ...

class SubscribeResponse(_message.Message):
    __slots__ = ("updates",)
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    updates: _containers.RepeatedCompositeFieldContainer[Update]
    def __init__(self, updates: _Optional[_Iterable[_Union[Update, _Mapping]]] = ...) -> None: ...

class ExecuteRequest(_message.Message):
    __slots__ = ("commands",)
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    commands: _containers.RepeatedCompositeFieldContainer[Command]
    def __init__(self, commands: _Optional[_Iterable[_Union[Command, _Mapping]]] = ...) -> None: ...

class ExecuteResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("accepted", "rejected", "pong")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    accepted: Accepted
    rejected: Rejected
    pong: Pong
    def __init__(self, accepted: _Optional[_Union[Accepted, _Mapping]] = ..., rejected: _Optional[_Union[Rejected, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ...) -> None: ...

class SendMessageRequest(_message.Message):
    __slots__ = ("send_message", "traceparent")
    SEND_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    send_message: SendMessage
    traceparent: str
    def __init__(self, send_message: _Optional[_Union[SendMessage, _Mapping]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class SendMessageResponse(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: MessageRef
    def __init__(self, message: _Optional[_Union[MessageRef, _Mapping]] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("command_id", "send_message", "acknowledge", "mark_read", "react", "unreact", "ping", "mark_received", "hello", "refresh_token", "traceparent")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    SEND_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    MARK_READ_FIELD_NUMBER: _ClassVar[int]
    REACT_FIELD_NUMBER: _ClassVar[int]
    UNREACT_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    MARK_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    command_id: int
    send_message: SendMessage
    acknowledge: Acknowledge
    mark_read: MarkRead
    react: React
    unreact: Unreact
    ping: Ping
    mark_received: MarkReceived
    hello: Hello
    refresh_token: RefreshToken
    traceparent: str
    def __init__(self, command_id: _Optional[int] = ..., send_message: _Optional[_Union[SendMessage, _Mapping]] = ..., acknowledge: _Optional[_Union[Acknowledge, _Mapping]] = ..., mark_read: _Optional[_Union[MarkRead, _Mapping]] = ..., react: _Optional[_Union[React, _Mapping]] = ..., unreact: _Optional[_Union[Unreact, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ..., mark_received: _Optional[_Union[MarkReceived, _Mapping]] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., refresh_token: _Optional[_Union[RefreshToken, _Mapping]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("event", "accepted", "rejected", "pong", "welcome", "gap", "go_away", "resumed", "checkpoint")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    GO_AWAY_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    event: Event
    accepted: Accepted
    rejected: Rejected
    pong: Pong
    welcome: Welcome
    gap: Gap
    go_away: GoAway
    resumed: Resumed
    checkpoint: Checkpoint
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ..., accepted: _Optional[_Union[Accepted, _Mapping]] = ..., rejected: _Optional[_Union[Rejected, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ..., go_away: _Optional[_Union[GoAway, _Mapping]] = ..., resumed: _Optional[_Union[Resumed, _Mapping]] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("cursor", "message", "reaction_changed", "received_mark", "read_mark", "traceparent")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REACTION_CHANGED_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_MARK_FIELD_NUMBER: _ClassVar[int]
    READ_MARK_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    message: Message
    reaction_changed: ReactionChanged
    received_mark: ReceivedMark
    read_mark: ReadMark
    traceparent: str
    def __init__(self, cursor: _Optional[str] = ..., message: _Optional[_Union[Message, _Mapping]] = ..., reaction_changed: _Optional[_Union[ReactionChanged, _Mapping]] = ..., received_mark: _Optional[_Union[ReceivedMark, _Mapping]] = ..., read_mark: _Optional[_Union[ReadMark, _Mapping]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class MessageRef(_message.Message):
    __slots__ = ("conversation_id", "sender_id", "message_id", "sent_at")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    sender_id: str
    message_id: str
    sent_at: _timestamp_pb2.Timestamp
    def __init__(self, conversation_id: _Optional[str] = ..., sender_id: _Optional[str] = ..., message_id: _Optional[str] = ..., sent_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("ref", "content", "reply_to", "notify")
    REF_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_FIELD_NUMBER: _ClassVar[int]
    NOTIFY_FIELD_NUMBER: _ClassVar[int]
    ref: MessageRef
    content: Content
    reply_to: MessageRef
    notify: NotifyLevel
    def __init__(self, ref: _Optional[_Union[MessageRef, _Mapping]] = ..., content: _Optional[_Union[Content, _Mapping]] = ..., reply_to: _Optional[_Union[MessageRef, _Mapping]] = ..., notify: _Optional[_Union[NotifyLevel, str]] = ...) -> None: ...

class Content(_message.Message):
    __slots__ = ("text", "data", "content_type", "attributes", "attachments")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENTS_FIELD_NUMBER: _ClassVar[int]
    text: str
    data: bytes
    content_type: str
    attributes: _containers.ScalarMap[str, str]
    attachments: _containers.RepeatedCompositeFieldContainer[Attachment]
    def __init__(self, text: _Optional[str] = ..., data: _Optional[bytes] = ..., content_type: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ..., attachments: _Optional[_Iterable[_Union[Attachment, _Mapping]]] = ...) -> None: ...

class Attachment(_message.Message):
    __slots__ = ("uri", "content_type", "size_bytes", "sha256", "name")
    URI_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    uri: str
    content_type: str
    size_bytes: int
    sha256: bytes
    name: str
    def __init__(self, uri: _Optional[str] = ..., content_type: _Optional[str] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[bytes] = ..., name: _Optional[str] = ...) -> None: ...

class SendMessage(_message.Message):
    __slots__ = ("message_id", "conversation_id", "recipients", "content", "reply_to", "notify")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_FIELD_NUMBER: _ClassVar[int]
    NOTIFY_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    conversation_id: str
    recipients: Recipients
    content: Content
    reply_to: MessageRef
    notify: NotifyLevel
    def __init__(self, message_id: _Optional[str] = ..., conversation_id: _Optional[str] = ..., recipients: _Optional[_Union[Recipients, _Mapping]] = ..., content: _Optional[_Union[Content, _Mapping]] = ..., reply_to: _Optional[_Union[MessageRef, _Mapping]] = ..., notify: _Optional[_Union[NotifyLevel, str]] = ...) -> None: ...

class Recipients(_message.Message):
    __slots__ = ("user_ids",)
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, user_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class React(_message.Message):
    __slots__ = ("reaction_id", "message", "key", "participants")
    REACTION_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    reaction_id: str
    message: MessageRef
    key: str
    participants: Recipients
    def __init__(self, reaction_id: _Optional[str] = ..., message: _Optional[_Union[MessageRef, _Mapping]] = ..., key: _Optional[str] = ..., participants: _Optional[_Union[Recipients, _Mapping]] = ...) -> None: ...

class Unreact(_message.Message):
    __slots__ = ("reaction_id", "message", "key", "participants")
    REACTION_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    reaction_id: str
    message: MessageRef
    key: str
    participants: Recipients
    def __init__(self, reaction_id: _Optional[str] = ..., message: _Optional[_Union[MessageRef, _Mapping]] = ..., key: _Optional[str] = ..., participants: _Optional[_Union[Recipients, _Mapping]] = ...) -> None: ...

class ReactionChanged(_message.Message):
    __slots__ = ("message", "user_id", "key", "removed", "changed_at")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    message: MessageRef
    user_id: str
    key: str
    removed: bool
    changed_at: _timestamp_pb2.Timestamp
    def __init__(self, message: _Optional[_Union[MessageRef, _Mapping]] = ..., user_id: _Optional[str] = ..., key: _Optional[str] = ..., removed: bool = ..., changed_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Acknowledge(_message.Message):
    __slots__ = ("cursor",)
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    def __init__(self, cursor: _Optional[str] = ...) -> None: ...

class MarkReceived(_message.Message):
    __slots__ = ("through", "participants")
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    through: MessageRef
    participants: Recipients
    def __init__(self, through: _Optional[_Union[MessageRef, _Mapping]] = ..., participants: _Optional[_Union[Recipients, _Mapping]] = ...) -> None: ...

class MarkRead(_message.Message):
    __slots__ = ("through", "participants")
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    through: MessageRef
    participants: Recipients
    def __init__(self, through: _Optional[_Union[MessageRef, _Mapping]] = ..., participants: _Optional[_Union[Recipients, _Mapping]] = ...) -> None: ...

class ReceivedMark(_message.Message):
    __slots__ = ("user_id", "through")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    through: MessageRef
    def __init__(self, user_id: _Optional[str] = ..., through: _Optional[_Union[MessageRef, _Mapping]] = ...) -> None: ...

class ReadMark(_message.Message):
    __slots__ = ("user_id", "through")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    through: MessageRef
    def __init__(self, user_id: _Optional[str] = ..., through: _Optional[_Union[MessageRef, _Mapping]] = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Pong(_message.Message):
    __slots__ = ("command_id", "server_time")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    command_id: int
    server_time: _timestamp_pb2.Timestamp
    def __init__(self, command_id: _Optional[int] = ..., server_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("resume_after", "live_only", "client_id", "client_info", "features")
    RESUME_AFTER_FIELD_NUMBER: _ClassVar[int]
    LIVE_ONLY_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_INFO_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    resume_after: str
    live_only: bool
    client_id: str
    client_info: str
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, resume_after: _Optional[str] = ..., live_only: bool = ..., client_id: _Optional[str] = ..., client_info: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("user_id", "session_id", "server_id", "cell_id", "features", "limits", "server_time", "token_expire_time", "ping_interval", "log_incarnation")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    CELL_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    TOKEN_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    PING_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    LOG_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    session_id: str
    server_id: str
    cell_id: str
    features: _containers.RepeatedScalarFieldContainer[str]
    limits: Limits
    server_time: _timestamp_pb2.Timestamp
    token_expire_time: _timestamp_pb2.Timestamp
    ping_interval: _duration_pb2.Duration
    log_incarnation: str
    def __init__(self, user_id: _Optional[str] = ..., session_id: _Optional[str] = ..., server_id: _Optional[str] = ..., cell_id: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., server_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., token_expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ping_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., log_incarnation: _Optional[str] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_content_bytes", "max_recipients", "max_commands_per_frame", "max_in_flight", "max_sends_per_second", "max_mark_participants", "hello_timeout", "retry_window", "max_frame_bytes")
    MAX_CONTENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    MAX_COMMANDS_PER_FRAME_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_SENDS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    MAX_MARK_PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    HELLO_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RETRY_WINDOW_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    max_content_bytes: int
    max_recipients: int
    max_commands_per_frame: int
    max_in_flight: int
    max_sends_per_second: int
    max_mark_participants: int
    hello_timeout: _duration_pb2.Duration
    retry_window: _duration_pb2.Duration
    max_frame_bytes: int
    def __init__(self, max_content_bytes: _Optional[int] = ..., max_recipients: _Optional[int] = ..., max_commands_per_frame: _Optional[int] = ..., max_in_flight: _Optional[int] = ..., max_sends_per_second: _Optional[int] = ..., max_mark_participants: _Optional[int] = ..., hello_timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., retry_window: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max_frame_bytes: _Optional[int] = ...) -> None: ...

class Resumed(_message.Message):
    __slots__ = ("cursor", "outcome")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    outcome: ResumeOutcome
    def __init__(self, cursor: _Optional[str] = ..., outcome: _Optional[_Union[ResumeOutcome, str]] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("cursor",)
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    def __init__(self, cursor: _Optional[str] = ...) -> None: ...

class Accepted(_message.Message):
    __slots__ = ("command_id",)
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    command_id: int
    def __init__(self, command_id: _Optional[int] = ...) -> None: ...

class Rejected(_message.Message):
    __slots__ = ("command_id", "reason", "outcome", "retry_after", "field", "limit", "detail", "message_id")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    command_id: int
    reason: RejectedReason
    outcome: RejectedOutcome
    retry_after: _duration_pb2.Duration
    field: str
    limit: int
    detail: str
    message_id: str
    def __init__(self, command_id: _Optional[int] = ..., reason: _Optional[_Union[RejectedReason, str]] = ..., outcome: _Optional[_Union[RejectedOutcome, str]] = ..., retry_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., field: _Optional[str] = ..., limit: _Optional[int] = ..., detail: _Optional[str] = ..., message_id: _Optional[str] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("after", "until")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    after: str
    until: str
    def __init__(self, after: _Optional[str] = ..., until: _Optional[str] = ...) -> None: ...

class GoAway(_message.Message):
    __slots__ = ("reason", "reconnect_after", "close_time")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_AFTER_FIELD_NUMBER: _ClassVar[int]
    CLOSE_TIME_FIELD_NUMBER: _ClassVar[int]
    reason: GoAwayReason
    reconnect_after: _duration_pb2.Duration
    close_time: _timestamp_pb2.Timestamp
    def __init__(self, reason: _Optional[_Union[GoAwayReason, str]] = ..., reconnect_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., close_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RefreshToken(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: str
    def __init__(self, token: _Optional[str] = ...) -> None: ...
