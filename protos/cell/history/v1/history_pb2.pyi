from cell.messaging.v1 import messaging_pb2 as _messaging_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Direction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIRECTION_UNSPECIFIED: _ClassVar[Direction]
    DIRECTION_OLDER: _ClassVar[Direction]
    DIRECTION_NEWER: _ClassVar[Direction]
    DIRECTION_AROUND: _ClassVar[Direction]

class ConversationKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONVERSATION_KIND_UNSPECIFIED: _ClassVar[ConversationKind]
    CONVERSATION_KIND_SELF: _ClassVar[ConversationKind]
    CONVERSATION_KIND_DIRECT: _ClassVar[ConversationKind]
    CONVERSATION_KIND_GROUP: _ClassVar[ConversationKind]
DIRECTION_UNSPECIFIED: Direction
DIRECTION_OLDER: Direction
DIRECTION_NEWER: Direction
DIRECTION_AROUND: Direction
CONVERSATION_KIND_UNSPECIFIED: ConversationKind
CONVERSATION_KIND_SELF: ConversationKind
CONVERSATION_KIND_DIRECT: ConversationKind
CONVERSATION_KIND_GROUP: ConversationKind

class ConversationName(_message.Message):
    __slots__ = ("conversation_id",)
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    WITH_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    def __init__(self, conversation_id: _Optional[str] = ..., **kwargs) -> None: ...

class ListMessagesRequest(_message.Message):
    __slots__ = ("conversation", "page_size", "page_token", "direction", "time", "message")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    conversation: ConversationName
    page_size: int
    page_token: str
    direction: Direction
    time: _timestamp_pb2.Timestamp
    message: _messaging_pb2.MessageRef
    def __init__(self, conversation: _Optional[_Union[ConversationName, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., direction: _Optional[_Union[Direction, str]] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., message: _Optional[_Union[_messaging_pb2.MessageRef, _Mapping]] = ...) -> None: ...

class ListMessagesResponse(_message.Message):
    __slots__ = ("messages", "older_page_token", "newer_page_token", "persisted_cursor")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    OLDER_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NEWER_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PERSISTED_CURSOR_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[HistoryMessage]
    older_page_token: str
    newer_page_token: str
    persisted_cursor: str
    def __init__(self, messages: _Optional[_Iterable[_Union[HistoryMessage, _Mapping]]] = ..., older_page_token: _Optional[str] = ..., newer_page_token: _Optional[str] = ..., persisted_cursor: _Optional[str] = ...) -> None: ...

class HistoryMessage(_message.Message):
    __slots__ = ("message", "reactions")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REACTIONS_FIELD_NUMBER: _ClassVar[int]
    message: _messaging_pb2.Message
    reactions: _containers.RepeatedCompositeFieldContainer[Reaction]
    def __init__(self, message: _Optional[_Union[_messaging_pb2.Message, _Mapping]] = ..., reactions: _Optional[_Iterable[_Union[Reaction, _Mapping]]] = ...) -> None: ...

class Reaction(_message.Message):
    __slots__ = ("key", "count", "user_ids", "mine")
    KEY_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    MINE_FIELD_NUMBER: _ClassVar[int]
    key: str
    count: int
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    mine: bool
    def __init__(self, key: _Optional[str] = ..., count: _Optional[int] = ..., user_ids: _Optional[_Iterable[str]] = ..., mine: bool = ...) -> None: ...

class GetMessagesRequest(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_messaging_pb2.MessageRef]
    def __init__(self, messages: _Optional[_Iterable[_Union[_messaging_pb2.MessageRef, _Mapping]]] = ...) -> None: ...

class GetMessagesResponse(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[HistoryMessage]
    def __init__(self, messages: _Optional[_Iterable[_Union[HistoryMessage, _Mapping]]] = ...) -> None: ...

class ListConversationsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListConversationsResponse(_message.Message):
    __slots__ = ("conversations", "next_page_token", "cursor")
    CONVERSATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    conversations: _containers.RepeatedCompositeFieldContainer[Conversation]
    next_page_token: str
    cursor: str
    def __init__(self, conversations: _Optional[_Iterable[_Union[Conversation, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., cursor: _Optional[str] = ...) -> None: ...

class GetConversationRequest(_message.Message):
    __slots__ = ("conversation",)
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    conversation: ConversationName
    def __init__(self, conversation: _Optional[_Union[ConversationName, _Mapping]] = ...) -> None: ...

class GetConversationResponse(_message.Message):
    __slots__ = ("conversation", "persisted_cursor")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    PERSISTED_CURSOR_FIELD_NUMBER: _ClassVar[int]
    conversation: Conversation
    persisted_cursor: str
    def __init__(self, conversation: _Optional[_Union[Conversation, _Mapping]] = ..., persisted_cursor: _Optional[str] = ...) -> None: ...

class Conversation(_message.Message):
    __slots__ = ("conversation_id", "kind", "participant_ids", "participant_count", "last_message", "unread_count", "read_through", "peer_marks")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_IDS_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    UNREAD_COUNT_FIELD_NUMBER: _ClassVar[int]
    READ_THROUGH_FIELD_NUMBER: _ClassVar[int]
    PEER_MARKS_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    kind: ConversationKind
    participant_ids: _containers.RepeatedScalarFieldContainer[str]
    participant_count: int
    last_message: HistoryMessage
    unread_count: int
    read_through: _messaging_pb2.MessageRef
    peer_marks: _containers.RepeatedCompositeFieldContainer[PeerMarks]
    def __init__(self, conversation_id: _Optional[str] = ..., kind: _Optional[_Union[ConversationKind, str]] = ..., participant_ids: _Optional[_Iterable[str]] = ..., participant_count: _Optional[int] = ..., last_message: _Optional[_Union[HistoryMessage, _Mapping]] = ..., unread_count: _Optional[int] = ..., read_through: _Optional[_Union[_messaging_pb2.MessageRef, _Mapping]] = ..., peer_marks: _Optional[_Iterable[_Union[PeerMarks, _Mapping]]] = ...) -> None: ...

class PeerMarks(_message.Message):
    __slots__ = ("user_id", "received_through", "read_through")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_THROUGH_FIELD_NUMBER: _ClassVar[int]
    READ_THROUGH_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    received_through: _messaging_pb2.MessageRef
    read_through: _messaging_pb2.MessageRef
    def __init__(self, user_id: _Optional[str] = ..., received_through: _Optional[_Union[_messaging_pb2.MessageRef, _Mapping]] = ..., read_through: _Optional[_Union[_messaging_pb2.MessageRef, _Mapping]] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("after_cursor", "page_size")
    AFTER_CURSOR_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    after_cursor: str
    page_size: int
    def __init__(self, after_cursor: _Optional[str] = ..., page_size: _Optional[int] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events", "next_cursor", "persisted_cursor", "gaps")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    PERSISTED_CURSOR_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_messaging_pb2.Event]
    next_cursor: str
    persisted_cursor: str
    gaps: _containers.RepeatedCompositeFieldContainer[_messaging_pb2.Gap]
    def __init__(self, events: _Optional[_Iterable[_Union[_messaging_pb2.Event, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., persisted_cursor: _Optional[str] = ..., gaps: _Optional[_Iterable[_Union[_messaging_pb2.Gap, _Mapping]]] = ...) -> None: ...
