"""A cell in a process of its own, started as a user starts it."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import ClassVar, NamedTuple, Self

import grpc
import jwt
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from check.processes import CELL_COMMAND, environment
from tests.support.engines import unique_name

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 60.0
SECRET = "a secret of the system tests: at least 32 bytes"
"""Signs the tokens of these tests, instead of a development key."""


def free_port() -> int:
    """A free port below those that the system gives to outgoing connections.

    One port for the life of a test, so that clients find the cell again after a restart; outside the ephemeral range, so
    that no connection takes it meanwhile, not even one that tries to reach it.
    """
    candidates = list(range(15_000, 32_000))
    random.shuffle(candidates)
    for port in candidates:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


def token(user_id: str) -> str:
    """An access token, as an identity provider that shares the key would make it."""
    return jwt.encode({"sub": user_id, "exp": int(time.time()) + 86_400}, SECRET, algorithm="HS256")


class Engines(NamedTuple):
    """Kafka and Cassandra, where a cell does not keep its data in a folder."""

    kafka: str
    """`host:port`"""
    cassandra: str
    """`host:port`"""

    def settings(self) -> dict[str, object]:
        """For a cell of its own there."""
        name = unique_name("cell")
        return {
            "log": f"kafka://{self.kafka}/{name}",
            "history": f"cassandra://{self.cassandra}/{name}",
            "few_copies": "true",
            "copies": 1,
        }


class CellProcess:
    """`cell run` on a folder. `with` starts it and always stops it.

    `settings` are given as CELL_* variables, by their names in lower case; None leaves one out. `wrapper` goes before the
    command. With `engines` its data is there, under a name of its own.
    """

    default_engines: ClassVar[Engines | None] = None
    """Of those who do not say: the data folder, unless conftest.py was told otherwise."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, object] = MappingProxyType({}),
        *,
        wrapper: Sequence[str] = (),
        engines: Engines | None = None,
    ) -> None:
        self._engines = engines or self.default_engines
        self.folder = folder
        self.data_folder = folder / "data"
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.settings: dict[str, object] = {
            "listen": self.address,
            "data_folder": self.data_folder,
            "jwt_secret": SECRET,
            "insecure": "true",
            "drain_s": 2,
            **(self._engines.settings() if self._engines else {}),
            **settings,
        }
        self.starts = 0
        self._wrapper = tuple(wrapper)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def environment(self) -> Mapping[str, str]:
        """What the process is given: nothing of another cell's settings."""
        return environment({name: value for name, value in self.settings.items() if value is not None})

    @property
    def output(self) -> str:
        """All that it wrote, over all its starts."""
        path = self.folder / "output"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, *, wait: bool = True) -> None:
        """Start it on what the folder holds, and wait until it serves."""
        assert CELL_COMMAND.exists(), f"{CELL_COMMAND} is missing: `make install` makes it"
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._engines and not self.starts:
            self.run_command("migrate")
        self.starts += 1
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [*self._wrapper, str(CELL_COMMAND), "run"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.folder,
            )
        if wait:
            try:
                self.wait_serving()
            except BaseException:
                self.kill()
                raise

    def wait_serving(self) -> None:
        """Until grpc.health.v1 says SERVING."""
        end = time.monotonic() + START_DEADLINE_S
        while self.health() != health_pb2.HealthCheckResponse.SERVING:
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError(
                    f"cell run ended with {self._process.returncode}:\n{self.output[-4000:]}"
                )
            if time.monotonic() > end:
                raise AssertionError(
                    f"cell run does not serve after {START_DEADLINE_S} s:\n{self.output[-4000:]}"
                )
            time.sleep(0.02)

    def health(self, service: str = "") -> int | None:
        """What the health service says; None while nobody answers."""
        with grpc.insecure_channel(self.address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)  # type: ignore[attr-defined]
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    return None
                raise
            return int(answer.status)

    def kill(self) -> None:
        """Kill -9, if it runs; and wait until it is gone."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            self._process = None

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Ctrl-C, or another signal that asks it to stop."""
        os.kill(self.pid, number)

    def wait_exit(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._process is not None
        code = self._process.wait(timeout=STOP_DEADLINE_S)
        self._process = None
        return code

    def stop(self) -> int:
        """Ctrl-C, and its exit code."""
        self.interrupt()
        return self.wait_exit()

    def run_command(self, *arguments: str) -> str:
        """What another `cell` command prints, given the same settings."""
        done = subprocess.run(
            [str(CELL_COMMAND), *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=START_DEADLINE_S,
            check=True,
        )
        return done.stdout

    def copy_data(self, target: Path) -> None:
        """The data folder as it is; while the cell does not run. Skips the test where the data is elsewhere."""
        if self._engines:
            pytest.skip("the data of this cell is not in a folder")
        assert self._process is None
        shutil.copytree(self.data_folder, target)

    def replace_data(self, source: Path) -> None:
        """Put other data in place; while the cell does not run. What `copy_data` gave."""
        assert self._process is None
        shutil.rmtree(self.data_folder, ignore_errors=True)
        shutil.copytree(source, self.data_folder)
