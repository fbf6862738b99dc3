"""Ways to break the product, each against one rule; the simulation must notice every one of them."""

from collections.abc import Callable
from typing import Any

from cell.log.v1 import record_pb2 as log
from delivery_service.forwarding import Forwarder
from delivery_service.partition import OwnedPartition
from delivery_service.window import Missing, Window
from event_log import commit_metadata, reader
from event_log.commit_metadata import TailState
from event_log.port import Fate
from event_log.reader import PartitionReader, Reading
from event_log.recent_ids import RecentIds
from history_service import embedded_writes
from history_service.rows import Lately
from messaging_core.clock import HybridClock
from messaging_server.ownership import Ownership
from messaging_server.pipeline import CommandDesk
from messaging_server.router import Router
from messaging_server.session import Session
from messaging_server.subscription import ATTACHING, Subscription
from session_link.routed import Routed
from tests.simulation.servers import SimServer

Patch = Callable[[Any, str, Any], None]
"""setattr, or what undoes it later."""


def through_raises_all(patch: Patch) -> None:
    """I8: delivered-through raises sessions that are not live."""

    def effective_position(self: Subscription) -> int:
        return max(self.position, self.user.view.through_offset)

    def fold_through(self: Subscription) -> None:
        self._pass(self.user.view.through_offset, self.user.view.through_time_us)

    patch(Subscription, "effective_position", property(effective_position))
    patch(Subscription, "_fold_through", fold_through)


class KeptOnly(RecentIds):
    """Remembers only the uses that were not dropped."""

    def use(self, key: str, digest: int, now_us: int) -> int | None:
        before = self._new.get(key) or self._old.get(key)
        first = super().use(key, digest, now_us)
        if first is not None and isinstance(before, tuple):
            self._new[key] = before
        return first


def ids_of_kept_only(patch: Patch) -> None:
    """R3: a dropped record does not count for the next."""
    patch(reader, "RecentIds", KeptOnly)


def ids_not_rebuilt(patch: Patch) -> None:
    """I4: the tail starts at the commit, so ids used before are forgotten."""
    patch(PartitionReader, "_tail_for", lambda self, _: self._snapshots[-1])


def commit_on_read(patch: Patch) -> None:
    """I3: what was read is committed, durable or not."""
    patch(Forwarder, "first_unforwarded", lambda self, position: position)


def accepted_before_settled(patch: Patch) -> None:
    """No acknowledgement before durability."""
    submit = CommandDesk.submit

    def eager(self: CommandDesk) -> None:
        batch = list(self._batch)
        submit(self)
        for record in batch:
            record.tag.accept()

    patch(CommandDesk, "submit", eager)


def unknown_is_not_done(patch: Patch) -> None:
    """R4: an append without an answer is called not done."""
    settle = CommandDesk._settle

    def hasty(self: CommandDesk, pending: Any, fate: Fate) -> None:
        settle(self, pending, Fate.NOT_APPENDED if fate is Fate.UNKNOWN else fate)

    patch(CommandDesk, "_settle", hasty)


def stale_links_are_heard(patch: Patch) -> None:
    """R7: events are taken from a link that is no longer the owner's."""
    patch(Router, "is_current", lambda self, source, partition: True)


def replies_of_any_attempt(patch: Patch) -> None:
    """R8: replies are not matched to the latest attach, and a client's next stream has the number of its last."""
    open_stream = SimServer.open
    patch(Subscription, "_is_latest", lambda self, reply: self.state is ATTACHING)
    patch(SimServer, "open", lambda self, device, number: open_stream(self, device, device.number))


def live_events_to_all(patch: Patch) -> None:
    """R8: live events also go to sessions that are catching up."""

    def routed(self: Router, source: Any, routed: Routed) -> None:
        if self.is_current(source, routed.partition):
            event = routed.event
            for number in routed.user_numbers or ():
                for session in getattr(self._views[routed.partition].users.get(number), "sessions", ()):
                    session.push(event.offset, event.piece, event.time_us)

    patch(Router, "_routed", routed)


def previous_is_ignored(patch: Patch) -> None:
    """R1: a copy is taken although the one before it is missing."""
    read_copy = PartitionReader._read_copy

    def broken(self: PartitionReader, reading: Reading, copy: log.Copy) -> None:
        copy.ClearField("previous_offset")
        read_copy(self, reading, copy)

    patch(PartitionReader, "_read_copy", broken)


def failed_copies_go_last(patch: Patch) -> None:
    """R1: only what failed is sent again, not what came after it."""

    def start_over(self: Forwarder, lane: Any, now_s: float) -> None:
        lane.parcels = type(lane.parcels)(p for p in lane.parcels if p.fate is not Fate.APPENDED)
        lane.sent, lane.failing = 0, False
        self._unsent[lane.target] = lane

    patch(Forwarder, "_start_over", start_over)


def vector_is_not_committed(patch: Patch) -> None:
    """R2: a new owner starts without the highest origins taken."""
    decode = commit_metadata.decode

    def forgetful(metadata: str) -> TailState:
        state = decode(metadata)
        return state._replace(chains=[0] * len(state.chains))

    patch(commit_metadata, "decode", forgetful)


def checkpoint_ahead(patch: Patch) -> None:
    """I7: a checkpoint overtakes the events that are queued before it."""

    def tell_position(self: Subscription, piece: bytes) -> None:
        self._cursor_offset = self.position
        self.outbound.put_outcome(piece)
        self.want_write()

    patch(Subscription, "_tell_position", tell_position)


def clock_does_not_observe(patch: Patch) -> None:
    """I12: the server's clock alone stamps."""
    patch(HybridClock, "observe", lambda self, time_us: None)


def overflow_drops(patch: Patch) -> None:
    """R12: a full buffer drops an event and goes on."""
    patch(Subscription, "_overflow", lambda self: None)


def a_release_is_anyones(patch: Patch) -> None:
    """R7: a former owner's release unseats the present one."""

    def release(self: "Ownership[Any]", which: Any, partition: int) -> list[int]:
        self._claims[partition].clear()
        return self._settle(partition)

    patch(Ownership, "release", release)


def never_behind(patch: Patch) -> None:
    """R8: an owner answers an attach older than its window as if it had everything."""
    since = Window.since

    def bold(self: Window, user: str, after: int) -> Any:
        found = since(self, user, max(after, self.start - 1))
        return [] if isinstance(found, Missing) else found

    patch(Window, "since", bold)


def rows_before_position(patch: Patch) -> None:
    """R9: the position is read after the rows, so what came between is passed over."""

    def page(self: SimServer) -> None:
        paging = self.paging.pop(0)
        self.history.read_on(paging)
        self.history.read_on(paging)
        assert paging.page is not None
        through = max(self.log.end(paging.stream.user.view.partition) - 1, paging.stream.position)
        paging.stream.page_read(
            paging.page._replace(through_offset=through, persisted_offset=through), self.now_s
        )

    patch(SimServer, "page", page)


def accepted_moves_the_cursor(patch: Patch) -> None:
    """R10: the position follows what was accepted."""
    accepted = Session.accepted

    def moving(self: Session, pending: Any) -> None:
        end = self._shared.desk.log.log.end(self.user.view.partition)  # type: ignore[attr-defined]
        self._pass(end - 1, 0)
        accepted(self, pending)

    patch(Session, "accepted", moving)


def acts_from_the_tail(patch: Patch) -> None:
    """R2: what a former owner took is forwarded again by origins that only look effective below the exact start."""
    init = OwnedPartition.__init__

    def eager(self: OwnedPartition, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self._acts_from = self._reader.acts_from = self._reader.exact_from = self._reader.tail_start
        self._window = Window(self._reader.tail_start, kwargs["settings"].window_bytes)

    patch(OwnedPartition, "__init__", eager)


def rows_are_taken_for_written(patch: Patch) -> None:
    """I9: history believes of a message's row that it was written before."""
    add = Lately.add

    def sure(self: "Lately[Any]", item: Any) -> bool:
        return add(self, item) and not isinstance(item, tuple)

    patch(Lately, "add", sure)


def marks_may_fall(patch: Patch) -> None:
    """I11: history keeps the last mark, not the highest."""
    statements = dict(embedded_writes._STATEMENTS)
    statements["marks"] = statements["marks"].partition("where")[0]
    patch(embedded_writes, "_STATEMENTS", statements)


FAULTS: dict[str, Callable[[Patch], None]] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        through_raises_all,
        ids_of_kept_only,
        ids_not_rebuilt,
        commit_on_read,
        accepted_before_settled,
        unknown_is_not_done,
        stale_links_are_heard,
        replies_of_any_attempt,
        live_events_to_all,
        previous_is_ignored,
        failed_copies_go_last,
        vector_is_not_committed,
        checkpoint_ahead,
        clock_does_not_observe,
        overflow_drops,
        a_release_is_anyones,
        never_behind,
        rows_before_position,
        accepted_moves_the_cursor,
        acts_from_the_tail,
        rows_are_taken_for_written,
        marks_may_fall,
    )
}
