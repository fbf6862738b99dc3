"""Settings, from a hostile environment."""

from dataclasses import fields
from typing import Any

from hypothesis import strategies as st

from messaging_cell.setting_sources import load, rows, variable
from messaging_cell.settings import ClientSettings, Settings, SettingsRefused
from tests.fuzz.strategies import EDGES, TEXT
from tests.fuzz.subjects import subject

NAMES = [variable(item.name) for table in (Settings, ClientSettings) for item in fields(table)]
VALUES = st.one_of(
    TEXT,
    st.text(st.characters(), max_size=10),  # what is not UTF-8 in an environment comes as surrogates
    st.sampled_from(
        [*map(str, EDGES), "nan", "inf", "-inf", "1e400", "1_000", "\u0663", "0x10", " 1 ", "9" * 5_000]
    ),
    st.sampled_from(
        (
            "127.0.0.1:1",
            "[::1]:0",
            "[::1%eth0]:1",
            ":1",
            "a:65536",
            "HS256, RS256",
            "~",
            "~nobody/x",
            "/\0",
            "true",
        )
    ),
)


@subject(
    share=30,
    environment=st.dictionaries(st.sampled_from(NAMES) | TEXT.map("CELL_{}".format), VALUES, max_size=4),
)
def test_environment(environment: dict[str, str]) -> None:
    """Any environment gives settings within their bounds, or SettingsRefused, which names every variable at fault."""
    tables: tuple[Any, ...] = (Settings, ClientSettings)
    for table in tables:
        try:
            settings = load(table, {}, environment)
        except SettingsRefused as refused:
            assert str(refused)
            continue
        assert all(name in NAMES for name in environment if name.startswith("CELL_"))
        for row in rows(table):
            if row.variable in environment:
                assert getattr(settings, row.name) == row.setting.kind.read(environment[row.variable])
