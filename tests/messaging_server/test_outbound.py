from hypothesis import given
from hypothesis import strategies as st

from messaging_server.outbound import Outbound

PIECES = st.lists(st.tuples(st.booleans(), st.integers(1, 40)))


@given(PIECES, st.integers(1, 60))
def test_frames_hold_every_piece_once_in_the_order_of_its_lane(
    pieces: list[tuple[bool, int]], max_bytes: int
) -> None:
    """Frames keep to their size unless one piece is larger, outcomes come first, and nothing is lost or doubled."""
    outbound = Outbound()
    lanes: tuple[list[bytes], list[bytes]] = ([], [])
    for number, (is_event, size) in enumerate(pieces):
        piece = number.to_bytes(2, "big") * size
        lanes[is_event].append(piece)
        (outbound.put_event if is_event else outbound.put_outcome)(piece)
    assert outbound.event_bytes == sum(map(len, lanes[1]))
    frames = []
    while frame := outbound.take_frame(max_bytes):
        frames.append(frame)
        assert len(frame) <= max(max_bytes, 80)
    assert b"".join(frames) == b"".join(lanes[0] + lanes[1])
    assert (outbound.event_bytes, outbound.outcome_bytes, bool(outbound)) == (0, 0, False)
