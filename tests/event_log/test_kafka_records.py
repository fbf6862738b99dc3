"""Batches are written and read as Kafka's format 2 says, which kafka-python's own parser and builder know too."""

import struct

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from event_log import kafka_records
from event_log.kafka_records import BatchDamaged

VALUES = st.lists(st.binary(max_size=300), min_size=1, max_size=40)
LOG_APPEND_TIME = 0x08
TIME_MS = 1_700_000_000_123


def stored(batch: bytes, base_offset: int, attributes: int = LOG_APPEND_TIME) -> bytes:
    """A batch as the broker keeps it: with its offset, and the time at which it was appended."""
    changed = bytearray(batch)
    struct.pack_into(">q", changed, 0, base_offset)
    struct.pack_into(">h", changed, 21, attributes)
    struct.pack_into(">I", changed, 17, crc32c(bytes(changed[21:])))
    return bytes(changed)


def encode(values: list[bytes]) -> bytes:
    return kafka_records.encode(values, 7, 1, 42, TIME_MS)


@given(VALUES)
def test_others_read_what_is_written(values: list[bytes]) -> None:
    """kafka-python reads the same values, in order, of the same producer, and finds the checksum right."""
    (batch,) = MemoryRecords(encode(values))
    assert batch.validate_crc()
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7, 1, 42)
    assert [(record.offset, bytes(record.value)) for record in batch] == list(enumerate(values))


@given(st.lists(VALUES, min_size=1, max_size=5), st.data())
def test_reads_from_any_offset_within_its_bytes(batches: list[list[bytes]], data: st.DataObject) -> None:
    """From any offset on, in pieces of any size, every record comes once, in order, with the broker's time."""
    fetched = b""
    expected: list[bytes] = []
    for values in batches:
        fetched += stored(encode(values), len(expected))
        expected += values
    start = offset = data.draw(st.integers(0, len(expected) - 1))
    at = 0
    found = []
    while kafka_records.has_batch(fetched, at):
        max_bytes = data.draw(st.integers(0, 700))
        decoded = kafka_records.decode(fetched, at, offset, max_bytes)
        assert decoded.size_bytes == sum(len(record.value) for record in decoded.records)
        assert decoded.size_bytes <= max_bytes or len(decoded.records) == 1
        found += decoded.records
        at, offset = decoded.at, decoded.next_offset
    assert [(r.offset, r.value) for r in found] == list(enumerate(expected))[start:]
    assert {r.append_time_us for r in found} == {TIME_MS * 1_000}


def test_leaves_what_is_cut_off() -> None:
    """Brokers cut the last batch off anywhere: it is left, and where to go on is its first record."""
    whole, cut = stored(encode([b"a", b"b"]), 10), stored(encode([b"c"]), 12)
    for length in range(len(cut)):
        decoded = kafka_records.decode(whole + cut[:length], 0, 10, 1_000)
        assert [r.value for r in decoded.records] == [b"a", b"b"]
        assert decoded.next_offset == 12
        assert not kafka_records.has_batch(whole + cut[:length], decoded.at)


def test_notices_damage() -> None:
    """A bit that has flipped anywhere after the checksum is noticed."""
    batch = stored(encode([b"value"]), 0)
    for at in range(21, len(batch)):
        damaged = batch[:at] + bytes([batch[at] ^ 1]) + batch[at + 1 :]
        with pytest.raises(BatchDamaged, match="offset 0"):
            kafka_records.decode(damaged, 0, 0, 100)


@pytest.mark.parametrize("compression", [0, 1])
def test_reads_what_others_write(compression: int) -> None:
    """Batches of other programs have keys, headers, their own times and compression; their values are read all the same."""
    builder = MemoryRecordsBuilder(2, compression, 1 << 20)
    for n in range(5):
        builder.append(timestamp=TIME_MS + n, key=b"key", value=b"%d" % n * 200, headers=[("h", b"x")])
    builder.close()
    decoded = kafka_records.decode(bytes(builder.buffer()), 0, 2, 10_000)
    assert [r.value for r in decoded.records] == [b"%d" % n * 200 for n in (2, 3, 4)]
    assert [r.append_time_us for r in decoded.records] == [(TIME_MS + n) * 1_000 for n in (2, 3, 4)]
    assert decoded.next_offset == 5


def test_passes_over_what_holds_no_records() -> None:
    """A control batch, which transactions of other programs leave, gives nothing and is not asked for again."""
    control = stored(encode([b"marker"]), 0, LOG_APPEND_TIME | 0x20)
    decoded = kafka_records.decode(control + stored(encode([b"a"]), 1), 0, 0, 100)
    assert [(r.offset, r.value) for r in decoded.records] == [(1, b"a")]
    assert kafka_records.decode(control, 0, 0, 100).next_offset == 1
