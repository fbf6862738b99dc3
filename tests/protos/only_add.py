"""What of a contract must never change, and what did.

The facts are those that an encoded message, its JSON form, a call on the wire, or code generated before depends on: what
buf's category FILE guards.
"""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import (
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from tests.protos.elements import Element, all_elements

Facts = dict[str, object]

_KINDS = {
    "DescriptorProto": "message",
    "EnumDescriptorProto": "enum",
    "EnumValueDescriptorProto": "enum value",
    "FieldDescriptorProto": "field",
    "MethodDescriptorProto": "rpc",
    "OneofDescriptorProto": "oneof",
    "ServiceDescriptorProto": "service",
}


def changes(before: FileDescriptorSet, after: FileDescriptorSet) -> Iterator[str]:
    """A sentence for everything that is gone or is no longer what it was; what is new is fine."""
    now = _facts(after)
    for name, facts in _facts(before).items():
        if name not in now:
            yield f"{name} is gone"
            continue
        for fact, was in facts.items():
            if now[name][fact] != was:
                yield f"{name}: {fact} was {was}, is {now[name][fact]}"


def _facts(files: FileDescriptorSet) -> dict[str, Facts]:
    of_files = {f"file {file.name}": _file_facts(file) for file in files.file}
    return of_files | {
        f"{_KINDS[type(element.described).__name__]} {element.name}": _element_facts(element)
        for element in all_elements(files)
    }


def _file_facts(file: FileDescriptorProto) -> Facts:
    return {
        "syntax": file.syntax,
        "csharp_namespace": file.options.csharp_namespace,
        "go_package": file.options.go_package,
        "java_multiple_files": file.options.java_multiple_files,
        "java_package": file.options.java_package,
        "swift_prefix": file.options.swift_prefix,
    }


def _element_facts(element: Element[Any]) -> Facts:
    facts: Facts = {"file": element.file.name}
    match element.described:
        case FieldDescriptorProto() as field:
            facts |= {
                "number": field.number,
                "type": FieldDescriptorProto.Type.Name(field.type),
                "type name": field.type_name,
                "label": FieldDescriptorProto.Label.Name(field.label),
                "json name": field.json_name,
                "oneof": element.parent.oneof_decl[field.oneof_index].name
                if field.HasField("oneof_index")
                else None,
            }
        case EnumValueDescriptorProto() as value:
            facts |= {"number": value.number}
        case MethodDescriptorProto() as rpc:
            facts |= {
                "request": rpc.input_type,
                "response": rpc.output_type,
                "client streaming": rpc.client_streaming,
                "server streaming": rpc.server_streaming,
            }
    return facts
