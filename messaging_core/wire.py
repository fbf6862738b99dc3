"""Protobuf's wire format, as far as hot paths join messages from fields that are encoded already.

https://protobuf.dev/programming-guides/encoding
"""


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_TWO_BYTES = 1 << 14
_VARINTS = tuple(_encode_varint(value) for value in range(_TWO_BYTES))
_CONTINUED = tuple(bytes((value & 0x7F | 0x80, value >> 7 | 0x80)) for value in range(_TWO_BYTES))
"""The first two bytes of longer ones."""


def varint(value: int) -> bytes:
    """A non-negative integer as protobuf writes it; those of two bytes, as most lengths are, from a table."""
    if value < _TWO_BYTES:
        return _VARINTS[value]
    head = b""
    while value >= _TWO_BYTES:
        head += _CONTINUED[value & _TWO_BYTES - 1]
        value >>= 14
    return head + _VARINTS[value]


def field(tag: bytes, value: bytes) -> bytes:
    """A length-delimited field, its tag being `number << 3 | 2` as a varint: messages are made by joining their fields."""
    length = len(value)
    return tag + (_VARINTS[length] if length < _TWO_BYTES else varint(length)) + value
