"""What a wheel of the project holds, and what it asks for."""

import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from generate import proto_files

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(folder.glob("messaging_cell-*.whl")))


def described(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = (path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode()


def metadata(wheel: zipfile.ZipFile) -> Message:
    return Parser().parsestr(described(wheel, "METADATA"))


def test_the_contracts_are_the_package_cell(wheel: zipfile.ZipFile) -> None:
    """The generated code stands at the top, as it is imported, typed, with the contracts beside it."""
    names = set(wheel.namelist())
    assert {"cell/__init__.py", "cell/py.typed"} <= names
    for proto in proto_files():
        stem = proto.removesuffix(".proto")
        assert {proto, f"{stem}_pb2.py", f"{stem}_pb2.pyi"} <= names


def test_every_package_is_in_the_wheel_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """All that the root has as packages, but no tests, checking programs or servers for them, and no `protos` of ours."""
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "check", "engines"}
    found = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == packages | {"cell"}


def test_the_base_install_is_contracts_and_sdk(wheel: zipfile.ZipFile) -> None:
    """Without extras, grpcio and protobuf are all that is asked for."""
    required = metadata(wheel).get_all("Requires-Dist", [])
    assert sorted(line for line in required if "extra ==" not in line) == [
        "grpcio>=1.72.1",
        "protobuf<8,>=6.30",
    ]


def test_the_command_is_installed(wheel: zipfile.ZipFile) -> None:
    """The wheel brings the `cell` command."""
    assert "cell = messaging_cell.command:main" in described(wheel, "entry_points.txt")
