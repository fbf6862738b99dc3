"""`cell token`: an access token, for development and for tries."""

from typing import Annotated

import typer

from messaging_cell.commands import common


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        help="Print an access token for a user, signed with the cell's own key or configured secret."
    )(token)


def token(
    user: Annotated[str, typer.Argument(help="Whom the token is for.", callback=common.user, metavar="USER")],
    hours: Annotated[float, typer.Option(help="How long it holds.", min=0.01, max=87_600)] = 24.0,
    data_folder: common.DataFolder = None,
) -> None:
    """See the help text."""
    settings = common.ClientOptions(None, None, data_folder).settings()
    print(common.token_maker(settings, user, hours * 3_600)())
