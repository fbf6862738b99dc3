"""Where settings come from: flags first, then CELL_* variables, then defaults."""

from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar, get_type_hints

from messaging_cell.setting_kinds import Setting
from messaging_cell.settings import ClientSettings, Settings, SettingsRefused

PREFIX = "CELL_"
GROUPS = ("Server", "TLS", "Access tokens", "Limits", "Logs", "Telemetry", "Engines", "Processes", "Client")
"""In the order in which they are told."""
Table = TypeVar("Table", Settings, ClientSettings)


class Row(NamedTuple):
    """A setting with every name it goes by."""

    name: str
    variable: str
    flag: str | None
    """None if it is taken from its variable only."""
    setting: Setting
    default: str


def rows(table: type[Settings] | type[ClientSettings]) -> Iterator[Row]:
    """The settings of a table, group by group."""
    hints = get_type_hints(table, include_extras=True)
    for item in sorted(fields(table), key=lambda item: GROUPS.index(hints[item.name].__metadata__[0].group)):
        setting: Setting = hints[item.name].__metadata__[0]
        flag = "--" + item.name.replace("_", "-") if setting.has_flag else None
        yield Row(item.name, variable(item.name), flag, setting, _default(item, setting))


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def load(table: type[Table], flags: Mapping[str, str | None], environment: Mapping[str, str]) -> Table:
    """Settings from flags (by setting name; None where not given) and variables.

    Raises SettingsRefused for everything that is wrong, at once: unknown CELL_* variables, values that are not allowed.
    """
    faults = _unknown_variables(environment)
    values: dict[str, Any] = {}
    for row in rows(table):
        source, given = row.flag or row.variable, flags.get(row.name)
        if given is None:
            source, given = row.variable, environment.get(row.variable)
        if given is None:
            continue
        try:
            values[row.name] = row.setting.kind.read(given)
        except ValueError:
            faults.append(_refusal(source, given, row.setting))
    if faults:
        raise SettingsRefused(faults)
    return table(**values)


def _refusal(source: str, given: str, setting: Setting) -> str:
    value = "the value" if setting.secret else repr(given if len(given) <= 100 else given[:100] + "...")
    fault = "is empty; unset it, or give a value" if not given else f"{value} is not allowed"
    return f"{source}: {fault}. It must be {setting.kind.allowed}."


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    known = [row.variable for table in (Settings, ClientSettings) for row in rows(table)]
    faults = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            close = get_close_matches(name, known, 1)
            hint = (
                f"Did you mean {close[0]}?"
                if close
                else "All settings are in docs/settings.md and `cell run --help`."
            )
            faults.append(f"{name}: there is no such setting. {hint}")
    return faults


def _default(item: "Field[Any]", setting: Setting) -> str:
    if setting.default_text:
        return setting.default_text
    return f"{item.default:,}" if type(item.default) is int else str(item.default).removesuffix(".0")
