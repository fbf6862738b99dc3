"""What `--help` gives as examples can be typed as it is."""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest
import typer.main
from typer.core import TyperGroup

from messaging_cell import process_checks
from messaging_cell.command import app
from messaging_cell.setting_sources import load
from messaging_cell.settings import Settings

_ASSIGNMENT = re.compile(r"([A-Z_]+)=(.*)")
_SERVICES = ("run", "messaging-server", "delivery-service", "history-service")
_FOUND = typer.main.get_command(app)
assert isinstance(_FOUND, TyperGroup)
COMMANDS = _FOUND.commands


class Example(NamedTuple):
    """A call of `cell`."""

    variables: Mapping[str, str]
    command: str
    arguments: list[str]


def examples(command: str) -> Iterator[Example]:
    """In its help: what stands between the titles of examples and of exit codes, in lines that may be continued."""
    told = (COMMANDS[command].help or "").partition("**Examples**")[2].partition("**Exit codes**")[0]
    for line in told.replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        if "cell" not in words:
            continue
        at = words.index("cell")
        given = [match for word in words[:at] if (match := _ASSIGNMENT.fullmatch(word))]
        end = words.index("|", at) if "|" in words[at:] else len(words)
        yield Example({match[1]: match[2] for match in given}, words[at + 1], words[at + 2 : end])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_how_it_is_called(command: str) -> None:
    """Arguments and flags of its examples are there, and its settings are allowed."""
    found = list(examples(command))
    assert found
    for variables, called, arguments in found:
        given = COMMANDS[called].make_context(called, list(arguments)).params
        if called in _SERVICES:
            settings = load(Settings, given, variables)
            whole = called == "run"
            process_checks.check(settings, has_clients=whole or called == "messaging-server", is_whole=whole)


@pytest.mark.parametrize("command", [name for name in _SERVICES if name != "run"])
def test_a_service_has_flags_for_what_matters_to_it(command: str) -> None:
    """What must be the same in every process, and what a refusal to start names."""
    flags = {flag for option in COMMANDS[command].params for flag in option.opts}
    assert {"--cell-id", "--partitions", "--retention-s", "--insecure", "--internal-listen"} <= flags
    assert ("--window-bytes" in flags) is (command != "history-service")
