"""What an application gets with the base install: the client, typed, and nothing of a server."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROTOBUF_MAJORS = ("6", "7")
"""The previous one and the current one."""
OURS = {"messaging_client", "cell"}
BASE = {"grpc", "google", "typing_extensions"}
IMPORTS = """
import sys
import grpc, grpc.aio  # takes what it finds of its own add-ons
before = set(sys.modules)
import messaging_client
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
"""
WRONG = """
import asyncio
from messaging_client import Client

async def main() -> None:
    async with Client("127.0.0.1:1", "token") as client:
        await client.send(5, to="bob")

asyncio.run(main())
"""


def run(python: str | Path, *arguments: str, cwd: Path = HERE) -> str:
    command = [str(python), "-W", "error", *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def test_it_imports_nothing_but_grpc_and_protobuf() -> None:
    """No package of the project beside the contracts, and no other package than the base install has."""
    assert set(run(sys.executable, "-c", IMPORTS).split()) <= OURS | BASE


def test_it_works_in_the_suites_own_environment() -> None:
    """A talk with a server, in a process of its own."""
    assert run(sys.executable, "try_installed.py").startswith("works with protobuf")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a release would be."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module", params=PROTOBUF_MAJORS)
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The interpreter of an environment that has the wheel, one major of protobuf, and what they need.

    Packages come from where `make install` gets them; where they cannot be had the tests are skipped, in CI they fail.
    """
    folder = tmp_path_factory.mktemp(f"protobuf-{request.param}")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    wanted = [str(wheel), f"protobuf=={request.param}.*"]
    done = subprocess.run([*pip, "install", "--quiet", *wanted], capture_output=True, text=True)
    if (
        done.returncode
        and os.environ.get("REQUIRE_ENGINES") != "1"
        and "Could not find a version" in done.stderr
    ):
        pytest.skip(f"no package index that has protobuf {request.param}: {done.stderr[-400:]}")
    assert done.returncode == 0, done.stderr
    return python


@pytest.mark.timeout(300)
def test_a_wheel_works_with_this_major_of_protobuf(
    installed: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In a fresh environment: a talk with a server without a warning, and nothing of a server is imported or needed."""
    told = run(installed, str(HERE / "try_installed.py"), cwd=tmp_path)
    assert told.startswith(f"works with protobuf {request.node.callspec.params['installed']}.")
    assert set(run(installed, "-c", IMPORTS, cwd=tmp_path).split()) <= OURS | BASE
    packages = {path.name.partition("-")[0] for path in site_packages(installed).glob("*.dist-info")}
    assert packages == {"messaging_cell", "grpcio", "protobuf", "typing_extensions"}


@pytest.mark.timeout(300)
def test_a_users_program_is_checked_against_the_wheel(installed: Path, tmp_path: Path) -> None:
    """`mypy --strict` finds the client's types where they are installed: the examples are right, and a mistake is found."""
    right = sorted((ROOT / "examples").glob("*.py"))
    assert right
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG)
    told = mypy(installed, [*right, wrong], tmp_path).splitlines()
    assert 'wrong.py:7: error: Argument 1 to "send" of "Client" has incompatible type "int"' in told[0]
    assert told[1].startswith("Found 1 error in 1 file")


def mypy(python: Path, programs: Sequence[Path], folder: Path) -> str:
    """What it says, as a user would run it: without the settings of the project, and away from its sources."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--python-executable={python}"]
    command += [f"--cache-dir={folder / 'cache'}", *map(str, programs)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout


def site_packages(python: Path) -> Path:
    (found,) = python.parent.parent.glob("lib/python3*/site-packages")
    return found
