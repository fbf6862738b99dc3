"""What an application gets with the base install: the client, and nothing of a server."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
IMPORTS = """
import sys
import grpc, grpc.aio  # takes what it finds of its own add-ons
before = set(sys.modules)
import messaging_client
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
"""


def run(*arguments: str) -> str:
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True).stdout


def test_it_imports_nothing_but_grpc_and_protobuf() -> None:
    """No package of the project beside the contracts, and no other package than the base install has."""
    assert set(run("-c", IMPORTS).split()) <= {
        "messaging_client",
        "cell",
        "grpc",
        "google",
        "typing_extensions",
    }


def test_it_works_as_installed() -> None:
    """A talk with a server, in a process that has only what is installed."""
    assert run("try_installed.py").startswith("works with protobuf")
