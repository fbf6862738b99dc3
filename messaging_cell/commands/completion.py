"""Values that a shell offers when Tab is pressed."""

import contextlib
from collections.abc import Callable
from dataclasses import fields

import typer

from messaging_cell.commands import options
from messaging_cell.commands.access import Access, access

_MOST = 50
_TIMEOUT_S = 2.0


def one_of(*values: str) -> Callable[[str], list[str]]:
    """Those of these that begin so."""
    return lambda incomplete: [value for value in values if value.startswith(incomplete)]


def peers(context: typer.Context, incomplete: str) -> list[str]:
    """Whom the USER on the command line has conversations with: asked of the cell, and nothing where it does not tell."""
    names = [each.name for each in fields(options.ClientOptions)]
    chosen = options.ClientOptions(**{name: context.params.get(name) for name in names})
    with contextlib.suppress(
        Exception, SystemExit
    ):  # a shell that completes is not the place to be told of errors
        way = access(context.params["user"], chosen)
        return [name for name in way.run(_known(way)) if name.startswith(incomplete)]
    return []


async def _known(way: Access) -> list[str]:
    names: dict[str, None] = {}
    async with way.client() as client:
        async for each in client.conversations(timeout_s=_TIMEOUT_S):
            names.update(dict.fromkeys(each.participant_ids))
            if len(names) > _MOST:
                break
    return [name for name in names if name != way.user]
