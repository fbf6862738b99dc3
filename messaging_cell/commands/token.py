"""`cell token`: an access token, for development and for tries."""

from typing import Annotated

import typer

from messaging_cell.commands import options
from messaging_cell.commands.access import token_maker
from messaging_cell.setting_sources import variable

_HELP = options.help_of(
    """Print an access token for a user, signed with the cell's own key of development mode, or with its configured secret.

A cell whose tokens are signed elsewhere (public keys, JWKS) has no key to make one with.""",
    "cell token alice --hours 1",
    'CELL_TOKEN="$(cell token bot)" python examples/bot.py',
    done="printed",
    not_done="",
    usage="there is no key here; or an argument, an option or a setting is wrong",
    away="",
    interrupted="",
    output_closed="",
    settings=f"""**Settings** as variables: {variable("data_folder")}, where the key of development mode is; and as the cell
has them {variable("jwt_secret")} or {variable("jwt_secret_file")}, {variable("jwt_algorithms")}, {variable("jwt_issuer")},
{variable("jwt_audience")}, {variable("jwt_user_claim")}.""",
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(token)


def token(
    user: Annotated[
        str, typer.Argument(help="Whom the token is for.", callback=options.user, metavar="USER")
    ],
    hours: Annotated[float, typer.Option(help="How long it holds.", min=0.01, max=87_600)] = 24.0,
    data_folder: options.DataFolder = None,
) -> None:
    """See the help text."""
    settings = options.ClientOptions(None, None, data_folder).settings()
    make, _ = token_maker(settings, user, hours * 3_600)
    print(make())
