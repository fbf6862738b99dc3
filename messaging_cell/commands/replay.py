"""`cell replay`: dead letters that can be read now go back into history."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from messaging_cell import runtime
from messaging_cell.commands import options
from messaging_cell.commands.options import CommandFailed
from messaging_cell.commands.setting_flags import with_flags
from messaging_cell.setting_sources import load, rows
from messaging_cell.settings import Settings
from messaging_cell.terminal_safety import printable

if TYPE_CHECKING:
    from event_log.port import EventLog
    from history_service.replay import Judged

_HELP = options.help_of(
    """Put records that nobody could read, the dead letters, back into history where this version can read them.

They take the place that was theirs, and their letters are gone; clients find them when they page history, or come back from
before. What still cannot be read stays. Doing it twice is doing it once. A cell on the embedded engine must be stopped for
it.""",
    "cell replay --list",
    "cell replay --log kafka://kafka-1/cell --history cassandra://cassandra-1/cell --partitions 64 --dry-run",
    "cell replay",
    done="what can be read is back, or told; nothing may have been to do",
    not_done="an engine refuses, does not answer, or is another process's; what was done so far stays done",
    away="",
    interrupted="",
    output_closed="",
    settings="**Settings** are those of the cell, as flags or variables; docs/settings.md has all.",
)
_ALSO = ("data_folder", "partitions", "retention_s", "max_mark_participants")


def add_to(app: typer.Typer) -> None:
    """Add the command, with flags for the settings that it looks at."""
    flags = (row for row in rows(Settings) if row.setting.group == "Engines" or row.name in _ALSO)
    app.command(help=_HELP)(with_flags(replay, flags))


def replay(
    *,
    list_only: Annotated[
        bool,
        typer.Option(
            "--list",
            metavar="",
            help="Change nothing; list the letters. History is not asked.",
            show_default=False,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            metavar="",
            help="Change nothing; say what would go back, and that both engines answer.",
        ),
    ] = False,
    **flags: str | None,
) -> None:
    """See the help text."""
    from event_log.port import LogError
    from history_service.port import StoreError, StoreUnavailable
    from messaging_cell import storage

    options.at_most_one(list=list_only, dry_run=dry_run)
    settings = load(Settings, flags, os.environ)
    try:
        runtime.run(_list(settings) if list_only else _replay(settings, dry_run))
    except (storage.StorageRefused, LogError, StoreError, StoreUnavailable) as error:
        raise CommandFailed(str(error)) from error


async def _list(settings: Settings) -> None:
    from history_service.replay import judged_letters

    async with _log_of(settings) as event_log:
        count = 0
        async for judged in judged_letters(event_log):
            _tell(judged, "can be put back")
            count += 1
    print(f"{_letters(count)}.")


async def _replay(settings: Settings, dry_run: bool) -> None:
    from history_service.replay import Replay, judged_letters
    from messaging_cell import storage

    done = stay = 0
    async with _log_of(settings) as event_log:
        store = await storage.open_store(settings)
        try:
            replay = Replay(event_log, store, settings.limits)
            async for judged in judged_letters(event_log):
                if judged.reading is None:
                    stay += 1
                else:
                    if not dry_run:
                        await replay.put_back(judged)
                    done += 1
                _tell(judged, "would be put back" if dry_run else "is back")
        finally:
            await store.close()
    verb = "would be put back" if dry_run else "put back"
    print(f"{_letters(done)} {verb}, {stay} stay." if done or stay else "No letters.")


@asynccontextmanager
async def _log_of(settings: Settings) -> "AsyncIterator[EventLog]":
    from messaging_cell import storage

    event_log = await storage.open_log(settings)
    try:
        yield event_log
    finally:
        await event_log.close()


def _tell(judged: "Judged", outcome: str) -> None:
    letter = judged.letter
    when = "an unknown time"
    if letter.append_time_us:
        when = datetime.fromtimestamp(letter.append_time_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    place = f"partition {letter.partition} offset {letter.offset}"
    fate = outcome if judged.reading is not None else f"stays: {judged.why}"
    print(printable(f"{place}, {when}, {len(letter.value)} bytes, {letter.reason}: {fate}"))


def _letters(count: int) -> str:
    return {0: "No letters", 1: "1 letter"}.get(count, f"{count} letters")
