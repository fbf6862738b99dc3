"""The newest records in memory."""

from hypothesis import given
from hypothesis import strategies as st

from event_log.embedded_tail import Tail
from event_log.port import LogRecord


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.integers(1, 300)), max_size=60))
def test_holds_a_suffix_of_each_partition_within_its_bytes(added: list[tuple[int, int, int]]) -> None:
    """What it has of a partition is the newest records without a hole, and all partitions together are within the bound."""
    tail = Tail(3, 4_000)
    ends = [0, 0, 0]
    for partition, count, size in added:
        first = ends[partition]
        tail.add(partition, [LogRecord(first + i, 1, bytes(size)) for i in range(count)])
        ends[partition] += count
        held = [[o for o in range(ends[p]) if tail.has(p, o)] for p in range(3)]
        total = 0
        for p in range(3):
            assert held[p] == list(range(ends[p] - len(held[p]), ends[p]))
            if held[p]:
                records = tail.read(p, held[p][0], 1 << 30)
                assert [record.offset for record in records] == held[p]
                assert len(tail.read(p, held[p][0], 0)) == 1
                total += sum(200 + len(record.value) for record in records)
        assert total <= 4_000
        assert not tail.has(partition, ends[partition])
