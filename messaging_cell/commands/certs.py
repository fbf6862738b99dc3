"""`cell certs`: certificates for development and tests."""

from pathlib import Path
from typing import Annotated

import typer

from messaging_cell.commands import options
from messaging_cell.commands.options import CommandFailed, Exit

_HELP = options.help_of(
    """Make an authority and certificates of it in FOLDER, for development and tests.

Clients trust `ca.pem`, the cell shows `server.pem`. They are good for this machine by its loopback addresses, and for
each --host.""",
    "cell certs ~/cell-certs --host chat.example.test",
    "CELL_TLS_CERT_FILE=~/cell-certs/server.pem CELL_TLS_KEY_FILE=~/cell-certs/server.key cell run",
    "cell chat alice --ca-file ~/cell-certs/ca.pem",
    done="made",
    not_done="a file is there already, or cannot be written",
    away="",
    interrupted="",
    output_closed="",
    settings="",
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(certs)


def certs(
    folder: Annotated[Path, typer.Argument(help="Where they go; made if need be.", metavar="FOLDER")],
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name or address by which the cell is reached.", metavar="NAME"),
    ] = None,
) -> None:
    """See the help text."""
    from messaging_cell.certificates import make_for_development

    try:
        for path in make_for_development(folder.expanduser(), host or []):
            print(path)
    except FileExistsError as error:
        raise CommandFailed(f"{error}.") from error
    except OSError as error:
        raise CommandFailed(f"{error.filename or folder}: {error.strerror}.") from error
    except ValueError as error:
        raise CommandFailed(f"--host: {error}.", Exit.USAGE) from error
