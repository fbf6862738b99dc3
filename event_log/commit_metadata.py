"""What a commit carries beside its offset (R2): the state of a reader where a new owner starts to replay.

The text is `2.<incarnation>.<base85 of the rest>`. The rest is varints as protobuf writes them: tail start, exact from,
running time, newest event time, number of partitions, and for each source partition twice one more than the highest origin
taken, plus one where the chain is open. For 512 partitions with offsets up to 2**40 that is below 3,960 characters beside
the incarnation.

Then, after their number, by how much running time, newest event time and each chain are higher at the committed offset.
None where that is not known, or would be too long: for 512 partitions with offsets above 2**34. Version 1 had nothing there.
"""

from base64 import b85decode, b85encode
from collections.abc import Iterable, Iterator, Sequence
from operator import add, sub
from typing import NamedTuple

from event_log.port import MAX_METADATA_CHARS, Commit, LogError

MAX_OFFSET = 2**40
"""Offsets below this fit the metadata: a partition that takes 10,000 records a second gets there in 3 years."""
_VERSION = "2"
_READABLE = ("1", _VERSION)
_HEAD_CHARS = 10
"""Of base85: 8 bytes, which hold the tail start."""


class CommitUnreadable(LogError):
    """The commit holds nothing that this version can start from."""


class CommitState(NamedTuple):
    """What a reader knew at the committed offset, but for ids."""

    running_time_us: int
    """Highest append time of the records before it."""
    newest_us: int
    """Highest event time of the records before it."""
    chains: Sequence[int]
    """As in TailState."""


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
    at_commit: CommitState | None = None
    """Nothing in it is lower than at the tail start. None where it is not known."""


def encode(state: TailState) -> str:
    """At most 4,096 ASCII characters, without `at_commit` if need be. Raises ValueError where it would be more."""
    packed = _packed(
        (
            state.tail_start,
            state.exact_from,
            state.running_time_us,
            state.newest_us,
            len(state.chains),
            *state.chains,
        )
    )
    rises = _rises(state)
    text = _text(state.incarnation, packed + _packed((len(rises), *rises)))
    if len(text) > MAX_METADATA_CHARS:
        text = _text(state.incarnation, packed + _packed((0,)))
    if len(text) > MAX_METADATA_CHARS:
        raise ValueError(f"commit metadata of {len(text)} characters, limit {MAX_METADATA_CHARS}")
    return text


def decode(metadata: str) -> TailState:
    """Read what `encode` wrote. Raises CommitUnreadable for anything else."""
    version, _, rest = metadata.partition(".")
    incarnation, separator, packed = rest.partition(".")
    if version not in _READABLE or not separator:
        raise CommitUnreadable(
            f"commit metadata is not of version {' or '.join(_READABLE)}: {metadata[:32]!r}"
        )
    try:
        numbers = list(_varints(b85decode(packed)))
        tail_start, exact_from, running_time_us, newest_us, count, *more = numbers
        chains, more = more[:count], more[count:]
        if len(chains) != count:
            raise ValueError(f"{len(chains)} sources where it says {count}")
        tail = TailState(incarnation, tail_start, exact_from, running_time_us, newest_us, chains)
        return tail if version == "1" else tail._replace(at_commit=_at_commit(tail, more))
    except ValueError as error:
        raise CommitUnreadable(f"commit metadata is damaged: {error}") from error


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
    return min(commit.offset, tail_start) if version in _READABLE else 0


def _rises(state: TailState) -> Sequence[int]:
    """By how much the numbers of `at_commit` are higher than at the tail start."""
    if (at_commit := state.at_commit) is None:
        return ()
    running_time_us, newest_us, chains = at_commit
    return (
        running_time_us - state.running_time_us,
        newest_us - state.newest_us,
        *map(sub, chains, state.chains),
    )


def _at_commit(tail: TailState, numbers: Sequence[int]) -> CommitState | None:
    """From what `_rises` gave, and how many they were before them."""
    count, *rises = numbers
    if len(rises) != count or count not in (0, 2 + len(tail.chains)):
        raise ValueError(f"{len(rises)} rises where it says {count}")
    if not rises:
        return None
    chains = list(map(add, tail.chains, rises[2:]))
    return CommitState(tail.running_time_us + rises[0], tail.newest_us + rises[1], chains)


def _text(incarnation: str, packed: bytes) -> str:
    return f"{_VERSION}.{incarnation}.{b85encode(packed).decode('ascii')}"


def _packed(numbers: Iterable[int]) -> bytes:
    packed = bytearray()
    for number in numbers:
        while number > 0x7F:
            packed.append(number & 0x7F | 0x80)
            number >>= 7
        packed.append(number)
    return bytes(packed)


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
