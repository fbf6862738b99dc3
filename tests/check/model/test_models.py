"""The models in their short form: each keeps the invariants, and notices each rule that is dropped."""

import re
from pathlib import Path

import pytest

from check.model.__main__ import main, try_variant
from check.model.explore import explore
from check.model.suites import SUITES
from check.model.variants import Case, Variant

CASES = [pytest.param(case, id=f"{suite.name}: {case.name}") for suite in SUITES for case in suite.short]
VARIANTS = [
    pytest.param(each, id=f"{suite.name}: {each.name}") for suite in SUITES for each in suite.variants
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES)
def test_every_state_keeps_the_invariants(case: Case) -> None:
    """Whatever happens within the bounds, all that was promised holds, and comes about once nothing fails any more."""
    found = explore(case.make(), case.max_states)
    assert found.violation is None, "\n".join((str(found.violation), *found.trace))
    assert found.is_exhaustive


@pytest.mark.timeout(300)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_rule_that_is_dropped_is_noticed(variant: Variant) -> None:
    """With one rule broken an invariant does not hold any more: the one that the rule is there for."""
    found = try_variant(variant)
    assert found.violation is not None, f"not noticed in {found.states} states"
    assert found.violation.invariant == variant.caught_by


def test_names_are_told_apart() -> None:
    """No two variants of a model have the same name, and `--list` tells all of them."""
    for suite in SUITES:
        names = [each.name for each in suite.variants]
        assert len(set(names)) == len(names)


def test_the_document_tells_of_every_model() -> None:
    """docs/guarantees.md has each model with the number of its variants, and names no variant that there is not."""
    document = (Path(__file__).parents[3] / "docs/guarantees.md").read_text("utf-8")
    for suite in SUITES:
        (row,) = re.findall(rf"^\| `check/model/{suite.name}\.py` .*$", document, re.MULTILINE)
        assert row.endswith(f"| {len(suite.variants)} |")
    named = set(re.findall(r"variant `([^`]+)`", document))
    assert named
    assert named <= {each.name for suite in SUITES for each in suite.variants}


def test_the_command_tells_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` gives models and variants, and runs none."""
    assert main(["--list"]) == 0
    said = capsys.readouterr().out
    assert all(suite.name in said for suite in SUITES)
    assert "commit-on-read" in said
