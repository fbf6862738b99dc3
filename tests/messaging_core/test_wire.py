"""What is joined by hand is what protobuf writes."""

from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]
from hypothesis import given
from hypothesis import strategies as st

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.wire import field, varint

EDGES = [1 << bits for bits in range(0, 64, 7)]


@given(st.integers(0, 2**64) | st.sampled_from(EDGES).map(lambda edge: edge - 1) | st.sampled_from(EDGES))
def test_varints_are_protobufs(value: int) -> None:
    """A number is encoded as protobuf does, at each length."""
    assert varint(value) == _VarintBytes(value)


@given(st.binary(max_size=20_000))
def test_joined_fields_are_a_message(data: bytes) -> None:
    """A field of any length is what protobuf writes for it."""
    assert field(b"\x12", data) == messaging.Content(data=data).SerializeToString()
