"""The partition of a key, as Kafka's clients compute it."""

import pytest

from event_log.partitioner import CACHED_KEYS, murmur2, partition_for


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        # The vectors of Kafka's own UtilsTest.testMurmur2.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hashes_as_kafka_does(key: bytes, signed: int) -> None:
    """The hash is Kafka's, for keys of every length modulo 4."""
    assert murmur2(key) == signed % 2**32
    assert partition_for(key.decode(), 16) == (signed & 0x7FFFFFFF) % 16


def test_spreads_and_stays_in_range() -> None:
    """Partitions are 0 to count - 1 and each gets its share."""
    for count in (1, 7, 512):
        shares = [0] * count
        for n in range(20 * count):
            shares[partition_for(f"user-{n}", count)] += 1
        assert sum(shares) == 20 * count
        assert min(shares) > 0


def test_takes_keys_of_any_text() -> None:
    """A key is hashed as UTF-8; the empty one too."""
    assert partition_for("é", 1_000) == (murmur2("é".encode()) & 0x7FFFFFFF) % 1_000
    assert partition_for("", 512) == (murmur2(b"") & 0x7FFFFFFF) % 512


def test_the_cache_is_bounded() -> None:
    """A stream of strange keys does not grow the process."""
    assert partition_for.cache_info().maxsize == CACHED_KEYS
