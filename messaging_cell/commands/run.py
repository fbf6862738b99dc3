"""`cell run`: a whole cell in this process."""

import asyncio
import inspect
import os
import shlex
import shutil
import signal
import sys
from contextlib import suppress
from typing import Annotated

import typer

from messaging_cell import runtime
from messaging_cell.commands import options
from messaging_cell.commands.completion import one_of
from messaging_cell.commands.options import CommandFailed
from messaging_cell.setting_sources import Row, load, rows
from messaging_cell.settings import ClientSettings, Settings

_HELP = options.help_of(
    """Run a cell: all its services in this process, its data in one folder. Ctrl-C stops it, a second Ctrl-C at once.

Without keys for access tokens it is in development mode: it makes a key of its own, and serves this machine only.""",
    "cell run",
    "cell run --listen 127.0.0.1:6000 --data-folder /var/lib/cell",
    "CELL_JWT_JWKS_FILE=keys.json cell run --tls-cert-file server.pem --tls-key-file server.key",
    settings="**Settings** Each can also be given as the variable in brackets. docs/settings.md has all.",
    done="stopped as asked",
    not_done="it could not start, or a part failed; what it accepted is safe",
    away="",
    interrupted="stopped at once, by a second Ctrl-C",
    output_closed="",
)
_EXIT_AT_ONCE = 130


def add_to(app: typer.Typer) -> None:
    """Add the command, with one flag for each setting."""
    flagged = [row for row in rows(Settings) if row.flag]

    def run(**flags: str | None) -> None:
        from messaging_cell import logs

        settings = load(Settings, flags, os.environ)
        logs.configure(settings.log_level, settings.log_format)
        runtime.raise_file_limit()
        raise typer.Exit(runtime.run(_run(settings)))

    parameters = [
        inspect.Parameter(row.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(row))
        for row in flagged
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command(help=_HELP)(run)


def _option(row: Row) -> object:
    default = row.default.replace("`", "")
    about = f"{row.setting.help} It must be {row.setting.kind.allowed}. Default: {default}. ({row.variable})"
    return Annotated[
        str | None,
        typer.Option(
            row.flag,
            help=about,
            metavar="",
            rich_help_panel=row.setting.group,
            autocompletion=one_of(*row.setting.kind.choices),
        ),
    ]


async def _run(settings: Settings) -> int:
    from messaging_cell.embedded_cell import CannotStart, CellFailed, EmbeddedCell

    stopping = _stop_signals()
    cell = EmbeddedCell(settings)
    try:
        await cell.start()
    except (CannotStart, CellFailed) as error:
        raise CommandFailed(str(error)) from error
    runtime.settle_memory()
    _greet(settings, str(cell.client_address))
    closed = asyncio.create_task(cell.wait_closed())
    await asyncio.wait((closed, asyncio.create_task(stopping.wait())), return_when=asyncio.FIRST_COMPLETED)
    if not closed.done():
        _say("Stopping; Ctrl-C again stops at once.")
    await cell.stop()
    try:
        await closed
    except CellFailed as error:
        raise CommandFailed(f"{error} The cell has stopped; what it accepted is safe.") from error
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


def _greet(settings: Settings, address: str) -> None:
    lines = [f"The cell runs. Clients connect to {address}, data is in {settings.data_folder}."]
    if not settings.key_settings:
        lines += [
            "Development mode: no keys are set, so it made one of its own and serves this machine only.",
            "",
            "Try it, each line in a terminal of its own:",
            *(f"    {_client_command(settings, address, name)}" for name in ("alice", "bob")),
            "",
        ]
    _say(*lines, "Ctrl-C stops it.")


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
    return shlex.join(words)
