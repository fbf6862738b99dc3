"""The `cell` command."""

import sys
from typing import NoReturn

import typer

from messaging_cell import runtime
from messaging_cell.commands import chat, history, listen, run, send, token
from messaging_cell.commands.common import CommandFailed
from messaging_cell.settings import SettingsRefused

app = typer.Typer(
    name="cell",
    help="A messaging cell: `cell run` runs one, the other commands talk to it.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (run, chat, send, listen, history, token):
    module.add_to(app)


def main() -> NoReturn:
    """Run a command. Exits with 0 when it did what was asked, 1 when it could not, 2 when it was asked wrongly."""
    runtime.open_standard_files()
    runtime.prepare()  # before a command imports grpc
    try:
        app(prog_name="cell")
    except SettingsRefused as refused:
        _leave(2, *refused.faults)
    except CommandFailed as failed:
        _leave(failed.exit_code, str(failed))
    except KeyboardInterrupt:
        _leave(130)
    except OSError as error:  # of standard input or output; the commands tell of all others themselves
        _leave(1, str(error))
    raise AssertionError("typer ends by SystemExit")


def _leave(exit_code: int, *lines: str) -> NoReturn:
    for line in lines:
        print(f"cell: {line}", file=sys.stderr)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
