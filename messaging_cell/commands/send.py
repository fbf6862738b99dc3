"""`cell send`: one message."""

import getpass
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from messaging_cell.commands import common
from messaging_core.ids import is_command_id, is_user_id

if TYPE_CHECKING:
    from messaging_cell.terminal_client import TerminalClient

_UNKNOWN = 3
_HELP = """Send a message. Exits with 0 only when the cell has accepted it, which is for good.

Exits with 1 if it was not sent, and with 3 if that is not known: then look with `cell history`, or send it again with
the same `--id`, within 30 seconds of the first time."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(send)


def send(
    to: Annotated[str, typer.Argument(help="Who gets it.", metavar="USER", callback=common.user)],
    text: Annotated[
        str, typer.Argument(help="What it says; - reads it from standard input.", metavar="TEXT")
    ],
    also: Annotated[
        list[str] | None,
        typer.Option(help="One more recipient; may be repeated.", metavar="USER", callback=common.more_users),
    ] = None,
    sender: Annotated[
        str | None,
        typer.Option(
            "--from", help="Who sends it. Default: whom the token names, or your login name.", metavar="USER"
        ),
    ] = None,
    message_id: Annotated[
        str | None, typer.Option("--id", help="Id of the message. Default: a new one.", metavar="ID")
    ] = None,
    address: common.Address = None,
    token: common.Token = None,
    data_folder: common.DataFolder = None,
) -> None:
    """See the help text."""
    settings = common.ClientOptions(address, token, data_folder).settings()
    if message_id is not None and not is_command_id(message_id):
        raise typer.BadParameter(
            f"{message_id!r} is not 1 to 64 of A-Z, a-z, 0-9, _ and -.", param_hint="--id"
        )
    sender = common.user(sender) if sender else _sender(settings.token)
    said = sys.stdin.read() if text == "-" else text
    client = common.client_of(settings, sender)
    print(common.run_client(_send(client, common.users([to, *(also or ())]), said, message_id)))


def _sender(token: str) -> str:
    named = common.user_of_token(token) if token else getpass.getuser()
    if named is None or not is_user_id(named):
        raise common.CommandFailed("Who sends it? Say so with --from USER.", 2)
    return named


async def _send(client: "TerminalClient", to: list[str], text: str, message_id: str | None) -> str:
    from messaging_cell.terminal_client import OutcomeUnknown, new_id
    from messaging_cell.terminal_text import moment

    message_id = message_id or new_id()
    async with client:
        try:
            ref = await client.send(to, text, message_id)
        except OutcomeUnknown as error:
            said = f"It is not known whether the message was accepted. {error} Its id: {message_id}"
            raise common.CommandFailed(said, _UNKNOWN) from error
    sent_at = moment(ref.sent_at).astimezone().isoformat(sep=" ", timespec="microseconds")
    return f"accepted: {ref.message_id} from {ref.sender_id} at {sent_at}"
