"""The `cell` command."""

import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from messaging_cell import runtime
from messaging_cell.commands import (
    certs,
    chat,
    conversations,
    history,
    listen,
    migrate,
    replay,
    run,
    send,
    token,
)
from messaging_cell.commands.options import CommandFailed, Exit
from messaging_cell.settings import SettingsRefused
from messaging_cell.terminal_safety import printable


class _Commands(TyperGroup):
    """Ends quietly where nobody reads the output any more, as in `cell history ann bob | head -1`."""

    def invoke(self, context: Any) -> Any:
        try:
            result = super().invoke(context)
            sys.stdout.flush()
        except BrokenPipeError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes there
            raise typer.Exit(Exit.OUTPUT_CLOSED) from error
        return result


app = typer.Typer(
    name="cell",
    cls=_Commands,
    help="""A messaging cell: `cell run` runs one, the other commands talk to it.

    Try it: `cell run` in one terminal, `cell chat alice` and `cell chat bob` in two others.""",
    epilog="`cell COMMAND --help` tells of one, with examples. All settings are in docs/settings.md.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (run, chat, send, listen, history, conversations, token, certs, migrate, replay):
    module.add_to(app)


def main() -> NoReturn:
    """Run a command; exits with one of Exit."""
    runtime.open_standard_files()
    runtime.prepare()  # before a command imports grpc
    try:
        app(prog_name="cell")
    except SettingsRefused as refused:
        _leave(Exit.USAGE, *refused.faults)
    except CommandFailed as failed:
        _leave(failed.exit_code, *str(failed).splitlines())
    except KeyboardInterrupt:
        _leave(Exit.INTERRUPTED)
    except OSError as error:  # of standard input or output; the commands tell of all others themselves
        _leave(Exit.NOT_DONE, str(error))
    raise AssertionError("typer ends by SystemExit")


def _leave(exit_code: int, *lines: str) -> NoReturn:
    for line in lines:
        print(f"cell: {printable(line)}", file=sys.stderr)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
