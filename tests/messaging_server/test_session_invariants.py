"""I6, I7, I8 and I10 over random interleavings of all that never awaits, and that broken variants do not hold them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell.delivery.v1 import session_link_pb2 as link
from messaging_server.ownership import Ownership
from messaging_server.router import Router
from messaging_server.session import Session
from session_link.routed import Routed
from tests.messaging_server.simulation import Violation, World


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32))
def test_every_client_gets_what_names_it_once_in_order(seed: int) -> None:
    """After its cursor a client gets exactly its events, in order, whatever moves, breaks, lags or overflows."""
    World(seed).run(250)


class PushesToAny(Router):
    """B2: live events also go to sessions that are catching up."""

    def _routed(self, source: Any, routed: Routed) -> None:
        if self.is_current(source, routed.partition):
            event = routed.event
            for number in routed.user_numbers or ():
                for session in getattr(self._views[0].users.get(number), "sessions", ()):
                    session.push(event.offset, event.piece, event.time_us)


class AnyoneReleases(Ownership[Any]):
    """B4: a release counts from whoever sends it."""

    def release(self, link: Any, partition: int) -> list[int]:
        self._claims[partition].clear()
        return self._settle(partition) or [partition]


class ThroughRaisesAll(Session):
    """B7: delivered-through raises sessions that are not live."""

    @property
    def effective_position(self) -> int:
        return max(self.position, self.user.view.through_offset)

    def _fold_through(self) -> None:
        self._pass(self.user.view.through_offset, 0)


class DropsOnOverflow(Session):
    """B9: overflow drops an event and goes on."""

    def _overflow(self) -> None:
        pass


class TakesFromAll(Router):
    """B11: a superseded link is still listened to."""

    def is_current(self, source: Any, partition: int) -> bool:
        return True


class TakesAnyReply(Session):
    """B12: replies are not matched to the attach attempt."""

    def _is_latest(self, reply: link.AttachReply) -> bool:
        return self.state.value == "attaching"


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"router_kind": PushesToAny}, id="B2"),
        pytest.param({"ownership_kind": AnyoneReleases}, id="B4"),
        pytest.param({"session_kind": ThroughRaisesAll}, id="B7"),
        pytest.param({"accepted_moves": True}, id="B8"),
        pytest.param({"session_kind": DropsOnOverflow}, id="B9"),
        pytest.param({"router_kind": TakesFromAll}, id="B11"),
        pytest.param({"session_kind": TakesAnyReply, "unique_numbers": False, "devices": 1}, id="B12"),
    ],
)
def test_broken_variants_are_caught(broken: dict[str, Any]) -> None:
    """Without any one of the rules the same walk finds an event lost, doubled, out of turn, or a client stuck."""
    for seed in range(3_000):
        try:
            World(seed, **broken).run(250)
        except Violation:
            return
    pytest.fail("the broken variant was not caught")
