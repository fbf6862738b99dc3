"""The tables of docs/errors.md, for the tests that hold the code to them."""

from pathlib import Path

from messaging_core.refusals import Refused, reason_name

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/errors.md"
_OUTCOMES = ("", "not done", "unknown")
"""By cell.messaging.v1.RejectedOutcome."""


def rows_of(first_column: str) -> list[list[str]]:
    """The cells of every table whose first column has this name, without their heads."""
    rows: list[list[str]] = []
    inside = False
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip(" `") for cell in line.split("|")[1:-1]]
        if not cells:
            inside = False
        elif inside:
            rows.append(cells)
        elif cells[0] == first_column:
            inside = True
    return [row for row in rows if not row[0].startswith("---")]


def outcomes_told(outcomes: "tuple[int, ...]") -> str:
    """Outcomes as the document tells them."""
    return ", or ".join(_OUTCOMES[outcome] for outcome in outcomes)


def hint_told(seconds: float | None) -> str:
    """When to try again, as the document tells it."""
    return "" if seconds is None else f"{seconds:g} s"


def answer_told(status_name: str, refused: Refused | None) -> list[str]:
    """The columns of a row that ends a stream, but for the last."""
    if refused is None:
        return ["none", status_name, "ends", "", ""]
    outcome, hint = outcomes_told((refused.outcome,)), hint_told(refused.retry_seconds())
    return [reason_name(refused.reason), status_name, "ends", outcome, hint]
