"""How forwarding is tried, and what becomes of it with one rule broken."""

from cell.log.v1 import record_pb2 as log
from check.model.forwarding import Forwarding
from check.model.variants import Case, Patch, Suite, Variant
from delivery_service.forwarding import Forwarder, Parcel
from event_log import commit_metadata
from event_log.commit_metadata import TailState
from event_log.port import Fate
from event_log.reader import PartitionReader, Reading, Verdict
from tests.simulation import faults


def _unknown_is_appended(patch: Patch) -> None:
    settled = Forwarder.settled

    def hopeful(self: Forwarder, parcel: Parcel, fate: Fate, now_s: float) -> None:
        settled(self, parcel, Fate.APPENDED if fate is Fate.UNKNOWN else fate, now_s)

    patch(Forwarder, "settled", hopeful)


def _stale_are_taken(patch: Patch) -> None:
    read_copy = PartitionReader._read_copy

    def forgetful(self: PartitionReader, reading: Reading, copy: log.Copy) -> None:
        read_copy(self, reading, copy)
        if reading.verdict is Verdict.STALE:
            reading.verdict = Verdict.EFFECTIVE

    patch(PartitionReader, "_read_copy", forgetful)


def _sends_again_at_once(patch: Patch) -> None:
    settled = Forwarder.settled

    def hasty(self: Forwarder, parcel: Parcel, fate: Fate, now_s: float) -> None:
        settled(self, parcel, fate, now_s)
        if parcel.lane.failing:
            self._start_over(parcel.lane, now_s)

    patch(Forwarder, "settled", hasty)


def _takes_over_from_the_end(patch: Patch) -> None:
    new_owner = Forwarding._new_owner

    def late(self: Forwarding, position: int) -> int:
        return new_owner(self, min(position + 1, len(self._naming)) if position else 0)

    patch(Forwarding, "_new_owner", late)


def _state_at_the_commit_is_lost(patch: Patch) -> None:
    decode = commit_metadata.decode

    def forgetful(metadata: str) -> TailState:
        return decode(metadata)._replace(at_commit=None)

    patch(commit_metadata, "decode", forgetful)


_ONE, _TWO = ((1,),) * 4, ((1,), (1, 2), (2,), (1, 2))
_SMALL = Case("one target, 4 origins, 2 faults", lambda: Forwarding(_ONE, 2), 50_000)
_READERS = Case(
    "2 origins, 2 faults, a reader starts again twice", lambda: Forwarding(_ONE[:2], 2, 2), 50_000
)

SUITE = Suite(
    "forwarding",
    short=(_SMALL, Case("two targets, 4 origins, 2 faults", lambda: Forwarding(_TWO, 2), 50_000), _READERS),
    deep=(
        Case("one target, 4 origins, 5 faults, 3 under way", lambda: Forwarding(_ONE, 5, 0, 3), 1_000_000),
        Case("two targets, 4 origins, 3 faults, 3 under way", lambda: Forwarding(_TWO, 3, 0, 3), 1_000_000),
        Case(
            "3 origins, 3 faults, a reader starts again twice", lambda: Forwarding(_ONE[:3], 3, 2), 1_000_000
        ),
    ),
    variants=(
        Variant(
            "previous-is-ignored",
            "R1: a copy is taken although the one before it is missing",
            faults.previous_is_ignored,
            "I2",
            _SMALL,
        ),
        Variant(
            "failed-copies-go-last",
            "R1: only what failed is sent again, not what came after it",
            faults.failed_copies_go_last,
            "I3",
            _SMALL,
        ),
        Variant("stale-copies-are-taken", "R1: a copy is taken twice", _stale_are_taken, "I2", _SMALL),
        Variant(
            "unknown-is-appended",
            "R1: an append of which nobody knows is taken for durable",
            _unknown_is_appended,
            "I3",
            _SMALL,
        ),
        Variant(
            "sends-again-at-once",
            "R1: what follows a failed append is sent again before the log has said what became of it",
            _sends_again_at_once,
            "I3",
            _SMALL,
        ),
        Variant("commit-on-read", "R2: what was read is committed", faults.commit_on_read, "I3", _SMALL),
        Variant(
            "starts-above-the-commit",
            "R2: a new owner acts from above the committed offset",
            _takes_over_from_the_end,
            "I3",
            _SMALL,
        ),
        Variant(
            "vector-is-not-committed",
            "R2: a reader starts again without the highest origins taken",
            faults.vector_is_not_committed,
            "I1",
            _READERS,
        ),
        Variant(
            "chains-are-open",
            "R2: a reader whose tail is gone does not have the highest origins taken",
            _state_at_the_commit_is_lost,
            "I1",
            _READERS,
        ),
    ),
)
