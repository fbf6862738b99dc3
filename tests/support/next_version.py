"""Contracts as a later version may have them: one more field in each message, one more choice in each oneof."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message

_FIELD, _CHOICE = 15_998, 15_999
ADDED = "what this version does not know"


def next_version(file: FileDescriptor) -> Mapping[str, type[Message]]:
    """Its messages by their full names, `later` and `later_choice` added to each."""
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)  # type: ignore[no-untyped-call]
    proto.ClearField("service")
    for message in proto.message_type:
        _add(message, "later", _FIELD)
        for number, _ in enumerate(message.oneof_decl):
            if not _is_optional(message, number):
                _add(message, "later_choice", _CHOICE).oneof_index = number
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(proto.SerializeToString())  # type: ignore[no-untyped-call]
    found = pool.FindFileByName(proto.name)  # type: ignore[no-untyped-call]
    return {
        described.full_name: message_factory.GetMessageClass(described)
        for described in found.message_types_by_name.values()
    }


def as_next(message: Message, version: Mapping[str, type[Message]]) -> Message:
    """The same as the later version would write it: with its own fields filled in wherever there is a message."""
    made = version[message.DESCRIPTOR.full_name].FromString(message.SerializeToString())
    _fill(made)
    return made


def _fill(message: Any) -> None:
    message.later = ADDED
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if field.is_repeated else [value]:
                _fill(each)


def _add(message: Any, name: str, number: int) -> Any:
    kind = descriptor_pb2.FieldDescriptorProto
    return message.field.add(name=name, number=number, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)


def _is_optional(message: Any, oneof: int) -> bool:
    """Whether this oneof stands for a field that is marked optional."""
    return any(field.proto3_optional and field.oneof_index == oneof for field in message.field)
