"""Copies to other partitions (R1, R6): in order, without a hole, whatever becomes of single appends."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from cell.log.v1 import record_pb2 as log
from delivery_service.figures import DeliveryFigures
from event_log.port import Fate, NewRecord
from messaging_core.wire import field, varint
from telemetry.tracing import MOST_SPANS, Span, SpanKind, Tracer, of_record

_RECORD_COPY_TAG = b"\x12"  # Record.copy = 2
_COPY_LOGGED_TAG = b"\x0a"  # Copy.logged = 1
_SOURCE_OFFSET_TAG = b"\x18"  # Copy.source_offset = 3
_PREVIOUS_OFFSET_TAG = b"\x20"  # Copy.previous_offset = 4
_HOP_TAG = b"\x32"  # Copy.traceparent = 6
_FEW = 16
"""So many users' names are remembered encoded."""
_NO_SPANS: Mapping[int, Span] = {}
_PARCEL_BYTES = 250
"""What a copy costs beside its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardingSettings:
    """Bounds of what one source partition holds back."""

    queue_bytes: int = 8 * 1024 * 1024
    """Copies that are not durable yet, for all targets together: past this the source is to be paused. What is read last
    goes beyond it by a copy for each target."""
    in_flight_bytes: int = 256 * 1024
    """Copies handed to the log for one target: what a stalled target takes of the log's own buffer."""
    backoff_s: float = 0.05
    """Wait after a failed append to a target; doubles with each failure without progress."""
    max_backoff_s: float = 5.0


class Parcel:
    """One copy on its way."""

    __slots__ = ("fate", "forwarder", "lane", "origin_offset", "span", "value")

    def __init__(
        self, forwarder: "Forwarder", lane: "_Lane", origin_offset: int, value: bytes, span: Span | None
    ) -> None:
        self.forwarder = forwarder
        """Whose it is: one batch of the log may hold copies of many."""
        self.lane = lane
        self.origin_offset = origin_offset
        self.value = value
        self.span = span
        """Until it is durable, where it is traced."""
        self.fate: Fate | None = None


class _Lane:
    """What goes to one target: `parcels` from the oldest that is not durable, of which the first `sent` are handed out."""

    __slots__ = (
        "backoff_s",
        "failing",
        "in_flight",
        "in_flight_bytes",
        "parcels",
        "previous_field",
        "retry_at_s",
        "sent",
        "target",
    )

    def __init__(self, target: int) -> None:
        self.target = target
        self.previous_field = b""
        """Copy.previous_offset of the next copy, encoded; empty for the first."""
        self.parcels: deque[Parcel] = deque()
        self.sent = 0
        self.in_flight = 0
        self.in_flight_bytes = 0
        self.failing = False
        self.backoff_s = 0.0
        self.retry_at_s = 0.0


class Forwarder:
    """The copies of one source partition, for as long as one owner has it.

    A failed or unknown append leaves a hole at its target that readers do not step over (R1): the chain of
    `previous_offset` tells them. So everything from it on is sent again, once what is in flight to that target has
    settled, in the same order and with the same chain; readers drop what they have already. Other targets go on.
    """

    __slots__ = (
        "_figures",
        "_lanes",
        "_settings",
        "_source_field",
        "_tracer",
        "_unsent",
        "partition",
        "queued_bytes",
    )

    def __init__(
        self,
        partition: int,
        settings: ForwardingSettings,
        tracer: Tracer | None = None,
        figures: DeliveryFigures | None = None,
    ) -> None:
        self._figures = figures or DeliveryFigures()
        self.queued_bytes = 0
        """Size of the copies that are not known to be durable."""
        self.partition = partition
        self._settings = settings
        self._tracer = tracer
        self._source_field = log.Copy(source_partition=partition).SerializeToString()
        self._lanes: dict[int, _Lane] = {}
        self._unsent: dict[int, _Lane] = {}

    @property
    def full(self) -> bool:
        """Whether the source is to be paused until copies have become durable."""
        return self.queued_bytes >= self._settings.queue_bytes

    @property
    def roomy(self) -> bool:
        """Whether a paused source may go on."""
        return self.queued_bytes <= self._settings.queue_bytes // 2

    @property
    def in_flight(self) -> bool:
        """Whether the log still owes an answer."""
        return any(lane.in_flight for lane in self._lanes.values())

    def forward(
        self,
        offset: int,
        logged: log.LoggedEvent,
        recipients: Mapping[int, tuple[str, ...]],
        traceparent: str = "",
    ) -> None:
        """Queue one copy of the effective origin at `offset` for each target, naming its recipients there.

        Origins come in order, each once. `traceparent` is the context of what is done here; empty if it is not traced.
        """
        head = field(_COPY_LOGGED_TAG, logged.SerializeToString()) + self._source_field
        at = _SOURCE_OFFSET_TAG + varint(offset)
        spans = self._spans(recipients, traceparent) if traceparent else _NO_SPANS
        for target, users in recipients.items():
            lane = self._lanes.get(target)
            if lane is None:
                lane = self._lanes[target] = _Lane(target)
            named = _encode_few(users) if len(users) <= _FEW else _encode_recipients(users)
            copy = b"".join((head, at, lane.previous_field, named))
            span = spans.get(target)
            if traceparent:
                copy += field(_HOP_TAG, (span.traceparent if span is not None else traceparent).encode())
            value = field(_RECORD_COPY_TAG, copy)
            lane.parcels.append(Parcel(self, lane, offset, value, span))
            lane.previous_field = _PREVIOUS_OFFSET_TAG + varint(offset)
            self.queued_bytes += len(value) + _PARCEL_BYTES
            self._unsent[target] = lane

    def take(self, now_s: float) -> list[NewRecord[Parcel]]:
        """The copies to append now, in order within each target. Each must come back by `settled`."""
        records: list[NewRecord[Parcel]] = []
        for lane in list(self._unsent.values()):
            if not lane.failing and now_s >= lane.retry_at_s:
                self._take_lane(lane, records)
        return records

    def settled(self, parcel: Parcel, fate: Fate, now_s: float) -> None:
        """The log has told what became of a copy."""
        lane = parcel.lane
        parcel.fate = fate
        lane.in_flight -= 1
        lane.in_flight_bytes -= len(parcel.value)
        if fate is not Fate.APPENDED:
            lane.failing = True
        self._drop_durable(lane)
        if lane.failing and not lane.in_flight:
            self._start_over(lane, now_s)

    def first_unforwarded(self, position: int) -> int:
        """The first offset below which every origin is durable in all its targets (I3); `position` if all are."""
        heads = [lane.parcels[0].origin_offset for lane in self._lanes.values() if lane.parcels]
        return min(heads, default=position)

    def _spans(self, targets: Iterable[int], parent: str) -> Mapping[int, Span]:
        tracer = self._tracer
        if tracer is None:
            return _NO_SPANS
        return {
            target: tracer.start("send log", SpanKind.PRODUCER, parent, of_record("send", "send", target, {}))
            for target in islice(targets, MOST_SPANS)
        }

    def _take_lane(self, lane: _Lane, records: list[NewRecord[Parcel]]) -> None:
        parcels, bound = lane.parcels, self._settings.in_flight_bytes
        while lane.sent < len(parcels) and lane.in_flight_bytes < bound:
            parcel = parcels[lane.sent]
            records.append(NewRecord(lane.target, parcel.value, parcel))
            lane.sent += 1
            lane.in_flight += 1
            lane.in_flight_bytes += len(parcel.value)
        if lane.sent == len(parcels):
            del self._unsent[lane.target]

    def _drop_durable(self, lane: _Lane) -> None:
        """Forget copies that are durable and have no hole before them."""
        parcels = lane.parcels
        while parcels and parcels[0].fate is Fate.APPENDED:
            parcel = parcels.popleft()
            if parcel.span is not None:
                parcel.span.end()
            self.queued_bytes -= len(parcel.value) + _PARCEL_BYTES
            lane.sent -= 1
            lane.backoff_s = 0.0

    def _start_over(self, lane: _Lane, now_s: float) -> None:
        """Send again from the failed copy on, later: what landed after it stands behind a hole."""
        self._figures.retries += 1
        for parcel in lane.parcels:
            parcel.fate = None
        lane.sent = 0
        lane.failing = False
        lane.backoff_s = min(max(lane.backoff_s * 2, self._settings.backoff_s), self._settings.max_backoff_s)
        lane.retry_at_s = now_s + lane.backoff_s
        self._unsent[lane.target] = lane


def _encode_recipients(users: tuple[str, ...]) -> bytes:
    return log.Copy(recipient_ids=users).SerializeToString()


_encode_few = lru_cache(maxsize=8_192)(_encode_recipients)
