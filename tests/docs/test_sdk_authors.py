"""docs/sdk_authors.md says what the conformance script does."""

import re
from pathlib import Path

from check.conformance import app, python_driver
from check.conformance.scenarios import ALL

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "sdk_authors.md").read_text("utf-8")


def first_column(heading: str) -> set[str]:
    """The words of a table's first column, without its head."""
    section = DOCUMENT.partition(f"### {heading}")[2].partition("\n#")[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) - {"do", "report"}


def words(source: object, pattern: str) -> set[str]:
    return set(re.findall(pattern, Path(str(source)).read_text("utf-8")))


def test_every_order_is_specified() -> None:
    """The orders of the document are those that the script gives and that our driver takes."""
    orders = first_column("Orders")
    assert orders == words(python_driver.__file__, r'case "(\w+)":')
    assert orders == words(app.__file__, r'_(?:order|command|setting)\("(\w+)"')


def test_every_report_is_specified() -> None:
    """The reports of the document are those that the script takes."""
    assert first_column("Reports") == words(app.__file__, r'case "(\w+)":')


def test_every_kind_of_event_is_specified() -> None:
    """What a scenario expects a driver to tell, the document names."""
    folder = Path(app.__file__).parent / "scenarios"
    kinds = {kind for path in folder.glob("*.py") for kind in words(path, r'app\.told\(\s*"(\w+)"')}
    section = DOCUMENT.partition("Kinds of events:")[2].partition("\n#")[0]
    assert kinds
    assert all(f"`{kind}`" in section for kind in kinds)


def test_scenarios_that_are_named_exist() -> None:
    """Of each command and transcript."""
    named = set(re.findall(r"--only (\w+)|^(?:ok  |FAIL)  (\w+)", DOCUMENT, re.MULTILINE))
    names = {name for pair in named for name in pair if name}
    assert names
    assert names <= {scenario.name for scenario in ALL}
