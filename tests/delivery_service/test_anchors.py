"""Anchors: where a partition can be read again with its times."""

from hypothesis import given
from hypothesis import strategies as st

from delivery_service.anchors import SPACING_BYTES, Anchors

RECORDS = st.lists(st.tuples(st.integers(1, 3 * SPACING_BYTES), st.integers(0, 100)), min_size=1, max_size=60)


@given(RECORDS, st.data())
def test_reading_from_an_anchor_gives_the_time_of_every_record(
    records: list[tuple[int, int]], data: st.DataObject
) -> None:
    """From the anchor at or below an offset the newest time there is the true one, and little is read in vain."""
    anchors = Anchors()
    newest = [0]
    for offset, (size, time_us) in enumerate(records):
        anchors.pass_by(offset, size, newest[-1])
        newest.append(max(newest[-1], time_us))
    floor = data.draw(st.integers(0, len(records)))
    anchors.forget_below(floor)
    for offset in range(floor, len(records)):
        start, newest_us = anchors.at_or_below(offset)
        assert start <= offset
        assert newest_us == newest[start]
        assert start == offset or sum(size for size, _ in records[start : offset - 1]) < SPACING_BYTES


def test_what_is_below_the_floor_is_forgotten() -> None:
    """Memory goes with the floor: only the anchor that the floor itself needs stays."""
    anchors = Anchors()
    for offset in range(100):
        anchors.pass_by(offset, SPACING_BYTES, offset)
    anchors.forget_below(60)
    assert anchors.at_or_below(0) == anchors.at_or_below(59)
    assert anchors.at_or_below(60) == (60, 60)
