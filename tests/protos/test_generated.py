"""The committed code is what the pinned tools make of the contracts, and runs on two protobuf majors."""

import re
from pathlib import Path

import pytest

from generate import ROOT, generate, proto_files

GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py")


def generated_code(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for pattern in GENERATED
        for path in root.rglob(pattern)
    }


def test_committed_code_is_what_the_tools_make(tmp_path: Path) -> None:
    """Made anew into an empty folder, the code is byte for byte the committed code: nothing stale, missing or left over."""
    generate(tmp_path)
    made, committed = generated_code(tmp_path), generated_code(ROOT)
    assert sorted(made) == sorted(committed)
    assert [name for name in made if made[name] != committed[name]] == [], "run `make protos`"


def test_every_contract_has_its_code(tmp_path: Path) -> None:
    """Each .proto has messages and stubs; the gRPC file is there exactly where there is a service."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/a.proto").write_text('syntax = "proto3"; package shop; message A {}')
    (tmp_path / "shop/b.proto").write_text(
        'syntax = "proto3"; package shop; message B {} service S { rpc R(B) returns (B); }'
    )
    generate(tmp_path, tmp_path)
    assert proto_files(tmp_path) == ["shop/a.proto", "shop/b.proto"]
    assert sorted(generated_code(tmp_path)) == [
        "shop/a_pb2.py",
        "shop/a_pb2.pyi",
        "shop/b_pb2.py",
        "shop/b_pb2.pyi",
        "shop/b_pb2_grpc.py",
    ]


def test_a_contract_that_does_not_compile_is_refused(tmp_path: Path) -> None:
    """An error of protoc ends the run: no code is made of half the contracts."""
    (tmp_path / "broken.proto").write_text('syntax = "proto3"; message')
    with pytest.raises(SystemExit):
        generate(tmp_path, tmp_path)
    assert generated_code(tmp_path) == {}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*_pb2.py")), ids=lambda path: path.name)
def test_code_is_of_the_previous_protobuf_major(path: Path) -> None:
    """Code of protobuf major 6 runs on runtimes of majors 6 and 7 (protobuf's cross-version guarantee)."""
    major = re.search(r"Domain\.PUBLIC,\s*(\d+),", path.read_text())
    assert major
    assert major[1] == "6"
