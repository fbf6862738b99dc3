"""The naming rules of buf's lint category STANDARD, and its COMMENTS, over descriptors.

Each rule gives a sentence for every violation. Source: buf.build/docs/lint/rules.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    OneofDescriptorProto,
    ServiceDescriptorProto,
)

from tests.protos.elements import Described, all_elements, elements

Rule = Callable[[FileDescriptorSet], Iterator[str]]

LANGUAGE_OPTIONS = ("csharp_namespace", "go_package", "java_multiple_files", "java_package", "swift_prefix")

_PASCAL = re.compile(r"[A-Z][A-Za-z0-9]*\Z")
_LOWER_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*\Z")
_UPPER_SNAKE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*\Z")
_VERSION = re.compile(r"v[1-9][0-9]*((alpha|beta)[1-9][0-9]*)?\Z")
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def package_is_folder(files: FileDescriptorSet) -> Iterator[str]:
    """PACKAGE_DEFINED, PACKAGE_DIRECTORY_MATCH and all that follow from them."""
    for file in files.file:
        folder = ".".join(PurePosixPath(file.name).parent.parts)
        if not file.package or file.package != folder:
            yield f"{file.name}: its package is {file.package!r}, its folder says {folder!r}"


def package_lower_snake(files: FileDescriptorSet) -> Iterator[str]:
    """PACKAGE_LOWER_SNAKE_CASE."""
    for file in files.file:
        if not all(_LOWER_SNAKE.match(part) for part in file.package.split(".")):
            yield f"{file.name}: package {file.package} is not lower_snake_case"


def package_version(files: FileDescriptorSet) -> Iterator[str]:
    """PACKAGE_VERSION_SUFFIX."""
    for file in files.file:
        if not _VERSION.match(file.package.rpartition(".")[2]):
            yield f"{file.name}: package {file.package} does not end in a version"


def package_options(files: FileDescriptorSet) -> Iterator[str]:
    """PACKAGE_SAME_* for the languages we promise; unlike in buf they must also be set."""
    values = defaultdict(set)
    for file in files.file:
        for option in LANGUAGE_OPTIONS:
            is_set = file.options.HasField(option)  # type: ignore[arg-type]  # names of fields, all of them
            values[file.package, option].add(getattr(file.options, option) if is_set else None)
    for (package, option), found in values.items():
        if None in found:
            yield f"{package}: a file does not set {option}"
        elif len(found) > 1:
            yield f"{package}: its files differ in {option}: {sorted(map(str, found))}"


def file_lower_snake(files: FileDescriptorSet) -> Iterator[str]:
    """FILE_LOWER_SNAKE_CASE."""
    for file in files.file:
        if not _LOWER_SNAKE.match(PurePosixPath(file.name).stem):
            yield f"{file.name}: not lower_snake_case.proto"


def syntax_proto3(files: FileDescriptorSet) -> Iterator[str]:
    """SYNTAX_SPECIFIED and FIELD_NOT_REQUIRED."""
    for file in files.file:
        if file.syntax != "proto3":
            yield f"{file.name}: its syntax is not proto3"


def imports_plain(files: FileDescriptorSet) -> Iterator[str]:
    """IMPORT_NO_PUBLIC and IMPORT_NO_WEAK."""
    for file in files.file:
        for index in (*file.public_dependency, *file.weak_dependency):
            yield f"{file.name}: imports {file.dependency[index]} public or weak"


def messages_pascal(files: FileDescriptorSet) -> Iterator[str]:
    """MESSAGE_PASCAL_CASE."""
    return _misnamed(files, DescriptorProto, _PASCAL, "PascalCase")


def fields_lower_snake(files: FileDescriptorSet) -> Iterator[str]:
    """FIELD_LOWER_SNAKE_CASE."""
    return _misnamed(files, FieldDescriptorProto, _LOWER_SNAKE, "lower_snake_case")


def oneofs_lower_snake(files: FileDescriptorSet) -> Iterator[str]:
    """ONEOF_LOWER_SNAKE_CASE."""
    return _misnamed(files, OneofDescriptorProto, _LOWER_SNAKE, "lower_snake_case")


def enums_pascal(files: FileDescriptorSet) -> Iterator[str]:
    """ENUM_PASCAL_CASE."""
    return _misnamed(files, EnumDescriptorProto, _PASCAL, "PascalCase")


def enums_without_alias(files: FileDescriptorSet) -> Iterator[str]:
    """ENUM_NO_ALLOW_ALIAS."""
    for enum in elements(files, EnumDescriptorProto):
        if enum.described.options.allow_alias:
            yield f"{enum.name}: allows two names of one number"


def enum_values_upper_snake(files: FileDescriptorSet) -> Iterator[str]:
    """ENUM_VALUE_UPPER_SNAKE_CASE."""
    return _misnamed(files, EnumValueDescriptorProto, _UPPER_SNAKE, "UPPER_SNAKE_CASE")


def enum_values_prefixed(files: FileDescriptorSet) -> Iterator[str]:
    """ENUM_VALUE_PREFIX."""
    for enum in elements(files, EnumDescriptorProto):
        prefix = _enum_prefix(enum.described)
        for value in enum.described.value:
            if not value.name.startswith(prefix):
                yield f"{enum.name}.{value.name}: does not start with {prefix}"


def enum_zero_unspecified(files: FileDescriptorSet) -> Iterator[str]:
    """ENUM_FIRST_VALUE_ZERO and ENUM_ZERO_VALUE_SUFFIX."""
    for enum in elements(files, EnumDescriptorProto):
        first, unspecified = enum.described.value[0], f"{_enum_prefix(enum.described)}UNSPECIFIED"
        if first.number != 0 or first.name != unspecified:
            yield f"{enum.name}: its first value is not {unspecified} = 0"


def services_pascal(files: FileDescriptorSet) -> Iterator[str]:
    """SERVICE_PASCAL_CASE."""
    return _misnamed(files, ServiceDescriptorProto, _PASCAL, "PascalCase")


def services_suffixed(files: FileDescriptorSet) -> Iterator[str]:
    """SERVICE_SUFFIX."""
    for service in elements(files, ServiceDescriptorProto):
        if not service.described.name.endswith("Service"):
            yield f"{service.name}: does not end in Service"


def rpcs_pascal(files: FileDescriptorSet) -> Iterator[str]:
    """RPC_PASCAL_CASE."""
    return _misnamed(files, MethodDescriptorProto, _PASCAL, "PascalCase")


def rpc_messages_named(files: FileDescriptorSet) -> Iterator[str]:
    """RPC_REQUEST_STANDARD_NAME and RPC_RESPONSE_STANDARD_NAME."""
    for rpc in elements(files, MethodDescriptorProto):
        _, service, method = rpc.name.rsplit(".", 2)
        for found, suffix in ((rpc.described.input_type, "Request"), (rpc.described.output_type, "Response")):
            if found.rpartition(".")[2] not in (f"{method}{suffix}", f"{service}{method}{suffix}"):
                yield f"{rpc.name}: takes or gives {found}, not {method}{suffix}"


def rpc_messages_unique(files: FileDescriptorSet) -> Iterator[str]:
    """RPC_REQUEST_RESPONSE_UNIQUE."""
    rpcs = [rpc.described for rpc in elements(files, MethodDescriptorProto)]
    uses = Counter(name for rpc in rpcs for name in (rpc.input_type, rpc.output_type))
    for name, count in uses.items():
        if count > 1:
            yield f"{name.removeprefix('.')}: request or response in {count} places"


def everything_commented(files: FileDescriptorSet) -> Iterator[str]:
    """COMMENT_* of every kind; a comment behind the element counts."""
    commented = {
        (file.name, tuple(location.path))
        for file in files.file
        for location in file.source_code_info.location
        if location.leading_comments.strip() or location.trailing_comments.strip()
    }
    for element in all_elements(files):
        if element.written and (element.file.name, element.path) not in commented:
            yield f"{element.name}: has no comment"


RULES: tuple[Rule, ...] = (
    package_is_folder,
    package_lower_snake,
    package_version,
    package_options,
    file_lower_snake,
    syntax_proto3,
    imports_plain,
    messages_pascal,
    fields_lower_snake,
    oneofs_lower_snake,
    enums_pascal,
    enums_without_alias,
    enum_values_upper_snake,
    enum_values_prefixed,
    enum_zero_unspecified,
    services_pascal,
    services_suffixed,
    rpcs_pascal,
    rpc_messages_named,
    rpc_messages_unique,
    everything_commented,
)


def _misnamed(
    files: FileDescriptorSet, kind: type[Described], allowed: re.Pattern[str], form: str
) -> Iterator[str]:
    for element in elements(files, kind):
        if element.written and not allowed.match(element.described.name):
            yield f"{element.name}: not {form}"


def _enum_prefix(enum: EnumDescriptorProto) -> str:
    return f"{_WORD_START.sub('_', enum.name).upper()}_"
