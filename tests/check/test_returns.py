"""What streams that come back are served from is read from what servers tell of themselves."""

import asyncio
from collections.abc import Iterator

import pytest

from cell.delivery.v1 import session_link_pb2 as link
from check.throughput import returns
from check.throughput.returns import Served
from engines.server import free_ports
from messaging_server.figures import ServerFigures
from telemetry.prometheus import PrometheusPort


@pytest.fixture
def figures() -> ServerFigures:
    return ServerFigures()


@pytest.fixture
def address(figures: ServerFigures) -> Iterator[str]:
    port = PrometheusPort("127.0.0.1", 0, {}, lambda: figures)
    yield f"127.0.0.1:{port.port}"
    port.stop()


async def test_a_server_tells_what_its_streams_were_served_from(figures: ServerFigures, address: str) -> None:
    """Attaches by their outcome, and pages of history, by the names under which the server counts them."""
    assert await returns.fetch([address]) == {address: Served()}
    figures.attaches.update(
        {
            link.ATTACH_OUTCOME_ATTACHED: 3,
            link.ATTACH_OUTCOME_PARTIAL: 2,
            link.ATTACH_OUTCOME_BEHIND: 4,
            link.ATTACH_OUTCOME_PAST_END: 9,
        }
    )
    for _ in range(6):
        figures.pages.add(0.01)
    assert await returns.fetch([address]) == {address: Served(window=5, behind=4, pages=6)}


async def test_a_server_that_is_away_is_left_out(address: str) -> None:
    """As one that was killed is, until it is started again."""
    (nobody,) = await asyncio.to_thread(free_ports, 1)
    assert await returns.fetch([address, f"127.0.0.1:{nobody}"]) == {address: Served()}


def test_what_was_counted_since_begins_anew_with_a_process() -> None:
    """One that was not there before has counted from nothing."""
    before = {"a": Served(10, 1, 2)}
    after = {"a": Served(14, 1, 3), "b": Served(5, 0, 0)}
    assert returns.since(before, after) == Served(window=9, behind=0, pages=1)
