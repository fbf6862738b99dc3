"""How storing is tried, and what becomes of it with one rule broken."""

from check.model.storing import Storing
from check.model.variants import Case, Patch, Suite, Variant
from history_service import embedded_writes, rows
from tests.simulation import faults


def _last_reaction_wins(patch: Patch) -> None:
    statements = dict(embedded_writes._STATEMENTS)
    statements["reactions"] = statements["reactions"].partition("where")[0]
    patch(embedded_writes, "_STATEMENTS", statements)


def _own_offsets_of_reactions(patch: Patch) -> None:
    add_reaction = rows._add_reaction
    offsets = iter(range(1_000_000))

    def broken(batch: object, conversation_id: str, changed: object, origin_offset: int) -> None:
        add_reaction(batch, conversation_id, changed, next(offsets))  # type: ignore[arg-type]

    patch(rows, "_add_reaction", broken)


_ALL = Case("10 commands of 2 users", Storing, 100_000)

SUITE = Suite(
    "storing",
    short=(_ALL,),
    deep=(_ALL,),
    variants=(
        Variant(
            "marks-may-fall", "I11: the last mark counts, not the highest", faults.marks_may_fall, "I11", _ALL
        ),
        Variant(
            "last-reaction-wins",
            "I11: the reaction that is written last counts, not that of the highest origin",
            _last_reaction_wins,
            "I11",
            _ALL,
        ),
        Variant(
            "reactions-by-time-of-writing",
            "I11: reactions are ordered by when they are written, not by their origin",
            _own_offsets_of_reactions,
            "I11",
            _ALL,
        ),
        Variant(
            "rows-are-taken-for-written",
            "I9: it is believed of a message's row that it was written before",
            faults.rows_are_taken_for_written,
            "I9",
            _ALL,
        ),
    ),
)
