"""`cell run`: a whole cell in this process; and its services in processes of their own."""

import asyncio
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from messaging_cell import runtime
from messaging_cell.commands import options
from messaging_cell.commands.options import CommandFailed
from messaging_cell.commands.setting_flags import with_flags
from messaging_cell.setting_sources import GROUPS, load, rows
from messaging_cell.settings import ClientSettings, Settings

if TYPE_CHECKING:
    from messaging_cell.cell_process import CellProcess

_EXIT_AT_ONCE = 130


@dataclass(frozen=True, slots=True)
class _Command:
    """What runs one or all services."""

    name: str
    services: Sequence[str]
    """By the values of cell_process.Service, which is not imported before it is needed; none stands for all."""
    help: str
    groups: Collection[str]
    """Of settings that are flags."""
    also: Collection[str] = ()
    """Settings of other groups that are flags, by name."""


def _help(text: str, *examples: str) -> str:
    return options.help_of(
        text,
        *examples,
        settings="**Settings** Each can also be given as the variable in brackets. docs/settings.md has all.",
        done="stopped as asked",
        not_done="it could not start, or a part failed; what was accepted is safe",
        away="",
        interrupted="stopped at once, by a second Ctrl-C",
        output_closed="",
    )


def _lines(*parts: str) -> str:
    """An example of several lines, as a shell takes them."""
    return " \\\n        ".join(parts)


_ENGINES = "--log kafka://kafka-1/cell --history cassandra://cassandra-1/cell"
_OVER_A_NETWORK = (
    "--internal-cert-file internal.pem --internal-key-file internal.key --internal-ca-file ca.pem"
)
_SERVICE_GROUPS = frozenset(("Logs", "Telemetry", "Engines", "Processes"))
_SERVICE_ALSO = frozenset(("cell_id", "partitions", "retention_s", "insecure"))
_COMMANDS = (
    _Command(
        "run",
        (),
        _help(
            """Run a cell: all its services in this process. Ctrl-C stops it, a second Ctrl-C at once.

Without keys for access tokens it is in development mode: it makes a key of its own, and serves this machine only.""",
            "cell run",
            "cell run --listen 127.0.0.1:6000 --data-folder /var/lib/cell",
            "CELL_JWT_JWKS_FILE=keys.json cell run --tls-cert-file server.pem --tls-key-file server.key",
        ),
        GROUPS,
    ),
    _Command(
        "messaging-server",
        ("messaging-server",),
        _help(
            """Run a messaging server, which holds the streams of clients; with --workers in several processes.

It serves once delivery services have found it; health on its internal port tells.""",
            f"cell messaging-server {_ENGINES} --workers 4",
            _lines(
                f"cell messaging-server {_ENGINES} --workers 4",
                "--internal-listen 10.0.0.5:50061",
                _OVER_A_NETWORK,
            ),
        ),
        _SERVICE_GROUPS | {"Server", "TLS", "Access tokens", "Limits"},
    ),
    _Command(
        "delivery-service",
        ("delivery-service",),
        _help(
            "Run a delivery service, which brings what is sent to the servers that hold its readers' streams.",
            _lines(
                f"cell delivery-service {_ENGINES}",
                "--internal-listen 127.0.0.1:50071 --servers 127.0.0.1:50061-50064",
            ),
            _lines(
                f"cell delivery-service {_ENGINES}",
                "--servers 10.0.0.5:50061-50064,dns:servers.example:50061",
                _OVER_A_NETWORK,
            ),
        ),
        _SERVICE_GROUPS,
        _SERVICE_ALSO | {"window_bytes"},
    ),
    _Command(
        "history-service",
        ("history-service",),
        _help(
            "Run a history service, which stores what is sent.",
            f"cell history-service {_ENGINES} --internal-listen 127.0.0.1:50072",
        ),
        _SERVICE_GROUPS,
        _SERVICE_ALSO | {"max_mark_participants"},
    ),
)


def add_to(app: typer.Typer) -> None:
    """Add the commands, with one flag for each setting of their groups."""
    for command in _COMMANDS:
        flags = (
            row for row in rows(Settings) if row.setting.group in command.groups or row.name in command.also
        )
        app.command(command.name, help=command.help)(with_flags(_runner(command), flags))


def _runner(command: _Command) -> Callable[..., None]:
    def run(**flags: str | None) -> None:
        from messaging_cell import logs, workers

        settings = load(Settings, flags, os.environ)
        logs.configure(settings.log_level, settings.log_format)
        if settings.workers > 1 and "messaging-server" in command.services:
            raise typer.Exit(workers.run(settings, sys.argv[1:]))
        workers.end_with_parent()
        runtime.raise_file_limit()
        raise typer.Exit(runtime.run(_run(settings, command.services)))

    return run


async def _run(settings: Settings, services: Sequence[str]) -> int:
    from messaging_cell.cell_process import WHOLE_CELL, CannotStart, CellFailed, CellProcess, Service

    stopping = _stop_signals()
    cell = CellProcess(settings, set(map(Service, services)) or WHOLE_CELL)
    try:
        await cell.start()
    except (CannotStart, CellFailed) as error:
        raise CommandFailed(str(error)) from error
    runtime.settle_memory()
    _say(*_greeting(settings, cell))
    closed = asyncio.create_task(cell.wait_closed())
    await asyncio.wait((closed, asyncio.create_task(stopping.wait())), return_when=asyncio.FIRST_COMPLETED)
    if not closed.done():
        _say("Stopping; Ctrl-C again stops at once.")
    await cell.stop()
    try:
        await closed
    except CellFailed as error:
        raise CommandFailed(f"{error} It has stopped; what was accepted is safe.") from error
    return 0


def _stop_signals() -> asyncio.Event:
    """Set by the first Ctrl-C or SIGTERM; the next one ends the process."""
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            os._exit(_EXIT_AT_ONCE)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    return stopping


def _greeting(settings: Settings, cell: "CellProcess") -> Iterator[str]:
    if cell.internal_address is not None:
        if cell.has_clients:
            yield f"The messaging server runs. Clients connect to {cell.client_address}, links to {cell.internal_address}."
        else:
            yield f"The service runs. Its health is told at {cell.internal_address}."
    else:
        yield f"The cell runs. Clients connect to {cell.client_address}, {_whereabouts(settings)}."
    if cell.metrics_address is not None:
        yield f"Metrics are at http://{cell.metrics_address}/metrics."
    if settings.shared_port:
        return
    if cell.has_clients and not settings.key_settings:
        yield "Development mode: no keys are set, so it made one of its own and serves this machine only."
        yield ""
        yield "Try it, each line in a terminal of its own:"
        for name in ("alice", "bob"):
            yield f"    {_client_command(settings, str(cell.client_address), name)}"
        yield ""
    yield "Ctrl-C stops it."


def _whereabouts(settings: Settings) -> str:
    """Where its data is."""
    if settings.log.is_embedded and settings.history.is_embedded:
        return f"data is in {settings.data_folder}"
    places = {
        name: settings.data_folder if engine.is_embedded else engine
        for name, engine in (("log", settings.log), ("history", settings.history))
    }
    return " and ".join(f"the {name} is in {place}" for name, place in places.items())


def _say(*lines: str) -> None:
    with suppress(OSError):  # nobody has to listen
        print("\n".join(lines), flush=True)


def _client_command(settings: Settings, address: str, name: str) -> str:
    """`cell chat NAME` as it works from here."""
    program = sys.argv[0]
    if shutil.which("cell") == os.path.abspath(program):
        program = "cell"
    words = [program if program.endswith("cell") else "cell", "chat", name]
    defaults = ClientSettings()
    if address != str(defaults.address):
        words += ["--address", address]
    if settings.data_folder != defaults.data_folder:
        words += ["--data-folder", str(settings.data_folder)]
    return shlex.join([*words, *_trust(settings)])


def _trust(settings: Settings) -> list[str]:
    """What a client takes the cell by: the authority that `cell certs` leaves beside its certificate; else the system's."""
    if settings.tls_cert_file is None:
        return []
    authority = settings.tls_cert_file.with_name("ca.pem")
    return ["--ca-file", str(authority)] if authority.exists() else ["--tls"]
