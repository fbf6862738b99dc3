"""Where a new owner begins to read: at the tail start of the commit, or above it where the log has dropped the tail (R2).

Kafka drops old records, whether a group needs them or not: all of a partition that was quiet for long enough, or while
nobody was there. If they were acted on, nothing is lost. They are older than the retention that is asked for at start
(`kafka_topics.py`; ten minutes at least), far above W, so no id in them is in force any more (R3). What has to be known of
them is the highest origin taken of each source, whose copy may come again however old it is (R1).
"""

from event_log import commit_metadata
from event_log.commit_metadata import TailState
from event_log.port import Assignment, LogError, Truncated


class IncarnationChanged(LogError):
    """The commit is of another log than the one that is read."""


def start_of(partition: int, incarnation: str, partition_count: int, assignment: Assignment) -> TailState:
    """What a reader knows where it begins.

    Raises Truncated where the log does not have a record that was not acted on, or no longer all that was committed;
    IncarnationChanged, CommitUnreadable.
    """
    committed = assignment.committed
    if committed is None:
        start = TailState(incarnation, 0, 0, 0, 0, [0] * partition_count)
    else:
        start = commit_metadata.decode(committed.metadata)
    if start.incarnation != incarnation:
        raise IncarnationChanged(
            f"partition {partition}: committed in log {start.incarnation}, this is {incarnation}"
        )
    if len(start.chains) != partition_count:
        raise IncarnationChanged(
            f"partition {partition}: committed in a log of {len(start.chains)} partitions, this one has {partition_count}"
        )
    if committed is not None and committed.offset > assignment.end_offset:
        raise Truncated(
            f"partition {partition}: committed through {committed.offset}, the log ends at {assignment.end_offset}"
        )
    if assignment.start_offset <= start.tail_start:
        return start
    if committed is None or assignment.start_offset > committed.offset:
        needed = start.tail_start if committed is None else committed.offset
        raise Truncated(
            f"partition {partition}: records from {needed} are needed,"
            f" the log starts at {assignment.start_offset}"
        )
    return _without_tail(start, assignment.start_offset, committed.offset)


def _without_tail(tail: TailState, start_offset: int, committed_offset: int) -> TailState:
    """At the log's start, above the tail start, but not above what is to be acted on.

    If all is gone that was read, the commit tells the state. Else it is known only for the tail start, and copies of any
    source may be gone: every chain is open, so that no copy to come is a hole for good. One that was taken and is gone is
    taken again, should its owner send it again after all that time.
    """
    there = tail._replace(tail_start=start_offset, exact_from=committed_offset, at_commit=None)
    if start_offset == committed_offset and tail.at_commit is not None:
        return there._replace(**tail.at_commit._asdict())
    return there._replace(chains=[chain | 1 for chain in tail.chains])
