"""`cell listen`: a user's events as they come."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from messaging_cell.commands import common

if TYPE_CHECKING:
    from messaging_cell.terminal_client import TerminalClient

_HELP = """Print a user's events, one a line, as they come; Ctrl-C ends it.

With `--json` each line is an Event of the contract (protos/cell/messaging/v1/messaging.proto), whose cursor can be given to
`--after` later to go on where that one was."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(listen)


def listen(
    user: Annotated[str, typer.Argument(help="Whose events.", callback=common.user, metavar="USER")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    count: Annotated[int | None, typer.Option(help="End after so many events.", min=1, metavar="N")] = None,
    after: Annotated[
        str | None,
        typer.Option(
            help='Begin after this cursor; "" begins with the first event that is kept. Default: now.'
        ),
    ] = None,
    address: common.Address = None,
    token: common.Token = None,
    data_folder: common.DataFolder = None,
) -> None:
    """See the help text."""
    settings = common.ClientOptions(address, token, data_folder).settings()
    common.run_client(_listen(common.client_of(settings, user), user, as_json, count, after))


async def _listen(
    client: "TerminalClient", user: str, as_json: bool, count: int | None, after: str | None
) -> None:
    from rich.console import Console

    from messaging_cell.terminal_client import Offline
    from messaging_cell.terminal_text import event_text, json_line

    console, shown = Console(highlight=False, soft_wrap=True, emoji=False), 0
    async with client:
        async for update in client.updates(after):
            if isinstance(update, Offline):
                _note(f"no connection ({update.reason}); trying again")
            elif update.HasField("event"):
                if as_json:
                    print(json_line(update.event), flush=True)
                elif text := event_text(update.event, user):
                    console.print(text)
                shown += 1
                if shown == count:
                    return
            elif update.HasField("gap"):
                _note("some events are not to be had any more; cell history shows what is kept")
            elif update.HasField("resumed"):
                _note(f"listening to {user}" if update.resumed.outcome != 3 else f"{_RESET} {user}")


_RESET = "the cursor is of another log, so beginning from now; listening to"


def _note(text: str) -> None:
    """Beside the events, where pipes do not see it."""
    print(f"cell: {text}", file=sys.stderr, flush=True)
