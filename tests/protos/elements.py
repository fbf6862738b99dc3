"""Contracts as flat lists of what they are made of, and small contracts made from text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    OneofDescriptorProto,
    ServiceDescriptorProto,
)

from generate import describe

Described = (
    DescriptorProto
    | EnumDescriptorProto
    | EnumValueDescriptorProto
    | FieldDescriptorProto
    | MethodDescriptorProto
    | OneofDescriptorProto
    | ServiceDescriptorProto
)
D = TypeVar("D", bound=Described)


@dataclass(frozen=True, slots=True)
class Element(Generic[D]):
    """A message, field, oneof, enum, enum value, service or RPC."""

    name: str
    """In full; that of an enum value is below its enum's."""
    described: D
    parent: Any
    """The descriptor, or the file, that it stands in."""
    file: FileDescriptorProto
    path: tuple[int, ...]
    """Where it is in its file, as SourceCodeInfo names places."""
    written: bool
    """False for what the compiler adds: the entries of a map, the oneof of an `optional` field."""


def elements(files: FileDescriptorSet, kind: type[D]) -> Iterator[Element[D]]:
    """All elements of one kind, in the order of the files."""
    for element in all_elements(files):
        if isinstance(element.described, kind):
            yield element


def all_elements(files: FileDescriptorSet) -> Iterator[Element[Any]]:
    """Everything that has a name, each parent before what is in it."""
    for file in files.file:
        yield from _below(file, file, file.package, (), True)


_CHILDREN: dict[type[Any], Sequence[str]] = {
    FileDescriptorProto: ("message_type", "enum_type", "service"),
    DescriptorProto: ("field", "oneof_decl", "nested_type", "enum_type"),
    EnumDescriptorProto: ("value",),
    ServiceDescriptorProto: ("method",),
}


def _below(
    parent: Any, file: FileDescriptorProto, scope: str, path: tuple[int, ...], written: bool
) -> Iterator[Element[Any]]:
    for children in _CHILDREN.get(type(parent), ()):
        number = parent.DESCRIPTOR.fields_by_name[children].number
        for index, child in enumerate(getattr(parent, children)):
            name = f"{scope}.{child.name}".removeprefix(".")
            place = (*path, number, index)
            by_hand = written and not _is_made_by_compiler(child, parent)
            yield Element(name, child, parent, file, place, by_hand)
            yield from _below(child, file, name, place, by_hand)


def _is_made_by_compiler(child: Described, parent: Any) -> bool:
    if isinstance(child, DescriptorProto):
        return child.options.map_entry
    if isinstance(child, OneofDescriptorProto):
        members = [field for field in parent.field if field.HasField("oneof_index")]
        return any(f.proto3_optional and parent.oneof_decl[f.oneof_index].name == child.name for f in members)
    return False


def compiled(sources: Mapping[str, str]) -> FileDescriptorSet:
    """What protoc makes of these files, given as path: text, with their comments."""
    with TemporaryDirectory() as folder:
        for path, text in sources.items():
            proto = Path(folder, path)
            proto.parent.mkdir(parents=True, exist_ok=True)
            proto.write_text(text)
        return described(Path(folder))


def described(root: Path) -> FileDescriptorSet:
    """The contracts below a folder, with their comments."""
    with TemporaryDirectory() as scratch:
        return describe(root, Path(scratch, "files.binpb"), source_info=True)
