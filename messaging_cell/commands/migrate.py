"""`cell migrate`: topics, keyspace and tables of the engines that the settings name."""

import os
from typing import Annotated

import typer

from messaging_cell import runtime
from messaging_cell.commands import options
from messaging_cell.commands.options import CommandFailed
from messaging_cell.commands.setting_flags import with_flags
from messaging_cell.setting_sources import load, rows
from messaging_cell.settings import Settings, SettingsRefused

_HELP = options.help_of(
    """Make what a cell on Kafka and Cassandra needs there: the topics, the keyspace and its tables.

What is there stays; run it again after an update. Run it once at a time. With --print nothing is made, but told: for whoever
may not make topics or tables by program.""",
    "cell migrate --log kafka://kafka-1,kafka-2/cell --history cassandra://cassandra-1/cell --partitions 64",
    "cell migrate --print",
    done="everything is there",
    not_done="an engine refuses, or does not answer",
    away="",
    interrupted="",
    output_closed="",
    settings="**Settings** are those of the cell, as flags or variables; docs/settings.md has all.",
)
_ALSO = ("partitions", "retention_s")


def add_to(app: typer.Typer) -> None:
    """Add the command, with flags for the settings that it looks at."""
    flags = (row for row in rows(Settings) if row.setting.group == "Engines" or row.name in _ALSO)
    app.command(help=_HELP)(with_flags(migrate, flags))


def migrate(
    *,
    print_only: Annotated[
        bool,
        typer.Option(
            "--print", metavar="", help="Make nothing; print what would be made.", show_default=False
        ),
    ] = False,
    **flags: str | None,
) -> None:
    """See the help text."""
    from messaging_cell import storage

    settings = load(Settings, flags, os.environ)
    if settings.log.is_embedded and settings.history.is_embedded:
        raise SettingsRefused(
            ["log, history: both embedded, so there is nothing to make. See `cell migrate --help`."]
        )
    try:
        lines = storage.told(settings) if print_only else runtime.run(storage.migrate(settings))
    except storage.StorageRefused as error:
        raise CommandFailed(str(error)) from error
    for line in lines:
        print(line)
