"""Wrong inputs and the answer to each, as data: what the tests beside this run through, and docs/errors.md shows.

`python -m tests.system.wrong_use.catalogue` writes the tables of docs/errors.md.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from tests.system.wrong_use.calls import CALLS, WrongCall
from tests.system.wrong_use.commands import COMMANDS, WrongCommand
from tests.system.wrong_use.frames import FRAMES, WrongFrame
from tests.system.wrong_use.situations import SITUATIONS, Situation
from tests.system.wrong_use.tokens import TOKENS, WrongToken

Row = WrongToken | WrongCommand | WrongFrame | WrongCall | Situation
GROUPS: dict[str, Sequence[Row]] = {
    "wrong access token": TOKENS,
    "wrong command": COMMANDS,
    "wrong frame": FRAMES,
    "wrong question": CALLS,
    "wrong time": SITUATIONS,
}


def tables() -> Iterator[str]:
    """The lines of docs/errors.md that tell the catalogue; neighbours with the same answer share one."""
    for group, rows in GROUPS.items():
        yield f"| {group} | reason | field | limit | status | stream | outcome | retry_after |"
        yield "|---|---|---|---|---|---|---|---|"
        for answer, alike in groupby(rows, key=lambda row: row.answer):
            cells = ("; ".join(row.what for row in alike), *answer.told())
            yield " ".join(f"| {cell}".rstrip() for cell in cells) + " |"
        yield ""


if __name__ == "__main__":
    print("\n".join(tables()))
