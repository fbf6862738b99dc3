"""What a commit carries beside its offset (R2): the state of a reader where a new owner starts to replay.

The text is `1.<incarnation>.<base85 of the rest>`. The rest is varints as protobuf writes them: tail start, exact from,
running time, newest event time, number of partitions, and for each source partition twice one more than the highest origin
taken, plus one where the chain is open. For 512 partitions with offsets up to 2**40 that is below 3,960 characters beside
the incarnation.
"""

from base64 import b85decode, b85encode
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from event_log.port import MAX_METADATA_CHARS, Commit, LogError

MAX_OFFSET = 2**40
"""Offsets below this fit the metadata: a partition that takes 10,000 records a second gets there in 3 years."""
_VERSION = "1"
_HEAD_CHARS = 10
"""Of base85: 8 bytes, which hold the tail start."""


class CommitUnreadable(LogError):
    """The commit holds nothing that this version can start from."""


class TailState(NamedTuple):
    """What a reader knew at the tail start, from which replaying gives all it knew later."""

    incarnation: str
    """Of the log that was read."""
    tail_start: int
    """Offset of the first record to replay."""
    exact_from: int
    """From this offset on, verdicts after a replay are those of a reader that never stopped (I1)."""
    running_time_us: int
    """Highest append time of the records before the tail start; 0 if there were none."""
    newest_us: int
    """Highest event time of the records before the tail start; 0 if there were none."""
    chains: Sequence[int]
    """For each source partition 2 * (highest origin taken + 1) + (1 if its chain is open)."""


def encode(state: TailState) -> str:
    """At most 4,096 ASCII characters. Raises ValueError where it would be more."""
    numbers = (
        state.tail_start,
        state.exact_from,
        state.running_time_us,
        state.newest_us,
        len(state.chains),
        *state.chains,
    )
    packed = bytearray()
    for number in numbers:
        while number > 0x7F:
            packed.append(number & 0x7F | 0x80)
            number >>= 7
        packed.append(number)
    text = f"{_VERSION}.{state.incarnation}.{b85encode(packed).decode('ascii')}"
    if len(text) > MAX_METADATA_CHARS:
        raise ValueError(f"commit metadata of {len(text)} characters, limit {MAX_METADATA_CHARS}")
    return text


def decode(metadata: str) -> TailState:
    """Read what `encode` wrote. Raises CommitUnreadable for anything else."""
    version, _, rest = metadata.partition(".")
    incarnation, separator, packed = rest.partition(".")
    if version != _VERSION or not separator:
        raise CommitUnreadable(f"commit metadata is not of version {_VERSION}: {metadata[:32]!r}")
    try:
        numbers = list(_varints(b85decode(packed)))
        tail_start, exact_from, running_time_us, newest_us, count, *chains = numbers
    except ValueError as error:
        raise CommitUnreadable(f"commit metadata is damaged: {error}") from error
    if len(chains) != count:
        raise CommitUnreadable(f"commit metadata is damaged: {len(chains)} sources where it says {count}")
    return TailState(incarnation, tail_start, exact_from, running_time_us, newest_us, chains)


def tail_start_of(commit: Commit) -> int:
    """The first record that a group still needs: what retention must not pass (I4).

    A commit without metadata is of a consumer without state: it needs nothing before its offset. One that cannot be read
    may need everything.
    """
    if not commit.metadata:
        return commit.offset
    version, _, rest = commit.metadata.partition(".")
    try:
        tail_start = next(_varints(b85decode(rest.partition(".")[2][:_HEAD_CHARS])))
    except (ValueError, StopIteration):
        return 0
    return min(commit.offset, tail_start) if version == _VERSION else 0


def _varints(packed: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("it ends within a number")
