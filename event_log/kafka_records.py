"""How records stand in Kafka's batches, format 2 (https://kafka.apache.org/documentation/#recordbatch).

Written out, for this is where the time goes: a record of ours has no key and no headers, and a batch no compression, so most
of a record's bytes are known before its value.
"""

import struct
from collections.abc import Sequence

from crc32c import crc32c
from kafka.record.memory_records import MemoryRecords

from event_log.port import LogRecord, LogUnavailable

BATCH_OVERHEAD_BYTES = 61
RECORD_OVERHEAD_BYTES = 24
"""At most, beside its value."""
_HEAD = struct.Struct(">qiib")
"""Base offset, length of what follows, leader epoch, format."""
_CRC = struct.Struct(">I")
_BODY = struct.Struct(">hiqqqhii")
"""Attributes, last offset delta, base and maximum timestamp, producer id and epoch, base sequence, record count."""
_CRC_AT, _BODY_AT, _RECORDS_AT = 17, 21, 61
_LENGTH_COVERS_FROM = 12
_COMPRESSION, _LOG_APPEND_TIME, _CONTROL = 0x07, 0x08, 0x20


class BatchDamaged(LogUnavailable):
    """What was fetched is not what was appended; fetching it again may help."""


def _varint(number: int) -> bytes:
    """Of a number that is not negative, as Kafka writes signed ones: doubled."""
    number <<= 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_OFFSET_DELTAS = [b"\0\0" + _varint(delta) + b"\x01" for delta in range(4_096)]
"""Start of a record without a key: attributes, time delta, offset delta, key length -1."""
MAX_BATCH_RECORDS = len(_OFFSET_DELTAS)
_LENGTHS = [_varint(length) for length in range(4_096)]


def encode(values: Sequence[bytes], producer_id: int, epoch: int, sequence: int, now_ms: int) -> bytes:
    """One batch of 1 to MAX_BATCH_RECORDS records."""
    pieces: list[bytes] = []
    for start, value in zip(_OFFSET_DELTAS, values, strict=False):
        size = len(value)
        length = _LENGTHS[size] if size < 4_096 else _varint(size)
        whole = len(start) + len(length) + size + 1
        pieces += (_LENGTHS[whole] if whole < 4_096 else _varint(whole), start, length, value, b"\0")
    count = len(values)
    records = b"".join(pieces)
    body = _BODY.pack(0, count - 1, now_ms, now_ms, producer_id, epoch, sequence, count) + records
    head = _HEAD.pack(0, _BODY_AT - _LENGTH_COVERS_FROM + len(body), -1, 2)
    return b"".join((head, _CRC.pack(crc32c(body)), body))


class Decoded:
    """Records out of fetched bytes, and where to go on."""

    __slots__ = ("at", "next_offset", "records", "size_bytes")

    def __init__(self, at: int, next_offset: int) -> None:
        self.records: list[LogRecord] = []
        self.at = at
        """Where in the bytes to go on."""
        self.next_offset = next_offset
        """Above everything that was looked at, also where it held no record for us."""
        self.size_bytes = 0
        """Of the records' values."""


def has_batch(fetched: bytes, at: int) -> bool:
    """Whether a whole batch stands at this byte."""
    return at + _RECORDS_AT <= len(fetched) and at + _LENGTH_COVERS_FROM + _HEAD.unpack_from(fetched, at)[
        1
    ] <= len(fetched)


def decode(fetched: bytes, at: int, offset: int, max_bytes: int) -> Decoded:
    """Records from `offset` on, of the batches from byte `at` on; at least one if there is one, else at most `max_bytes`.

    What is cut off at the end, as brokers do, is left. Raises BatchDamaged.
    """
    found = Decoded(at, offset)
    view = memoryview(fetched)
    end = len(fetched)
    while at + _RECORDS_AT <= end:
        base_offset, length, _, magic = _HEAD.unpack_from(fetched, at)
        following = at + _LENGTH_COVERS_FROM + length
        if following > end:
            break
        body = view[at + _BODY_AT : following]
        if magic != 2 or _CRC.unpack_from(fetched, at + _CRC_AT)[0] != crc32c(body):
            raise BatchDamaged(f"the batch at offset {base_offset} is damaged")
        attributes, last_delta, *_ = _BODY.unpack_from(body)
        last_offset = base_offset + last_delta
        if last_offset >= offset and not attributes & _CONTROL:
            if attributes & _COMPRESSION or not attributes & _LOG_APPEND_TIME:
                full = _decode_unusual(bytes(view[at:following]), found, offset, max_bytes)
            else:
                full = _decode_batch(fetched, at, base_offset, found, offset, max_bytes)
            if full:
                return found
        found.next_offset = max(found.next_offset, last_offset + 1)
        found.at = at = following
    return found


def _decode_batch(
    fetched: bytes, at: int, base_offset: int, found: Decoded, offset: int, max_bytes: int
) -> bool:
    """Add a batch's records; True if that were enough bytes. `next_offset` is then the first that was left."""
    _, _, _, max_time_ms, _, _, _, count = _BODY.unpack_from(fetched, at + _BODY_AT)
    time_us = max_time_ms * 1_000
    records = found.records
    size_bytes = found.size_bytes
    at += _RECORDS_AT
    for _ in range(count):
        length, at = _read_varint(fetched, at)
        following = at + length
        at += 1
        if fetched[at]:
            _, at = _read_varint(fetched, at)
        else:
            at += 1
        delta, at = _read_varint(fetched, at)
        key_length, at = _read_varint(fetched, at)
        if key_length > 0:
            at += key_length
        value_length, at = _read_varint(fetched, at)
        record_offset = base_offset + delta
        if record_offset >= offset:
            size = max(value_length, 0)
            if records and size_bytes + size > max_bytes:
                found.size_bytes = size_bytes
                found.next_offset = record_offset
                return True
            size_bytes += size
            records.append(LogRecord(record_offset, time_us, fetched[at : at + size]))
        at = following
    found.size_bytes = size_bytes
    return False


def _decode_unusual(batch: bytes, found: Decoded, offset: int, max_bytes: int) -> bool:
    """As `_decode_batch`, for batches that others than this engine wrote: compressed, or with their writer's time."""
    for part in MemoryRecords(batch):
        for record in part:
            if record.offset < offset:
                continue
            value = bytes(record.value or b"")
            if found.records and found.size_bytes + len(value) > max_bytes:
                found.next_offset = record.offset
                return True
            found.size_bytes += len(value)
            found.records.append(LogRecord(record.offset, record.timestamp * 1_000, value))
    return False


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A signed number and where the next byte stands."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return byte >> 1 ^ -(byte & 1), at
    number = byte & 0x7F
    shift = 7
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number >> 1 ^ -(number & 1), at
        shift += 7
