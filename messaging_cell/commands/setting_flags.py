"""Flags of commands that stand for settings."""

import inspect
from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from messaging_cell.commands.completion import one_of
from messaging_cell.setting_sources import Row


def with_flags(function: Callable[..., None], rows: Iterable[Row]) -> Callable[..., None]:
    """The function, which takes flags by name in `**flags`, as typer wants it: with a parameter for each setting.

    Its own keyword parameters come first.
    """
    own = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    flags = [
        inspect.Parameter(row.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(row))
        for row in rows
        if row.flag
    ]
    function.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *flags)}
    return function


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
