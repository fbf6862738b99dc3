"""Pings, silence and leaving, by a clock that the test holds."""

import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client.commands import send_message
from messaging_client.settings import ClientSettings
from messaging_client.stream import Stream
from messaging_client.values import NotifyLevel

SETTINGS = ClientSettings(open_timeout_s=10, pong_timeout_s=15)


def opened(ping_interval_s: int = 30) -> Stream:
    stream = Stream(1, SETTINGS, 0.0)
    welcome = messaging.Welcome(limits=messaging.Limits(max_in_flight=2))
    welcome.ping_interval.FromSeconds(ping_interval_s)
    welcome.server_time.FromSeconds(1_000)
    stream.opened(welcome, 0.0)
    return stream


def test_a_stream_that_does_not_open_is_broken() -> None:
    """Without Welcome in time."""
    stream = Stream(1, SETTINGS, 0.0)
    stream.on_time(9.9)
    assert not stream.is_broken
    assert stream.due_s() == 10.0
    stream.on_time(10.0)
    stream.on_time(11.0)
    assert stream.wants_end(11.0)


def test_pings_go_at_the_advised_interval_one_at_a_time() -> None:
    """None before it is time, none while a pong is out, and a pong in time keeps the stream."""
    stream = opened()
    assert stream.ping(29.9) is None
    assert stream.ping(30.0) is not None
    assert stream.ping(62.0) is None
    stream.ponged()
    stream.on_time(46.0)
    assert not stream.is_broken
    assert stream.ping(62.0) is not None


def test_a_missing_pong_breaks_it() -> None:
    """No pong in time, and none in the moment after it."""
    stream = opened()
    stream.ping(30.0)
    stream.on_time(45.0)
    assert not stream.is_broken
    assert stream.due_s() == 46.0
    stream.on_time(46.0)
    assert stream.is_broken


@pytest.mark.parametrize("late_s", [0.1, 0.9, 1.0, 155.0])
def test_a_program_that_stood_still_reads_first(late_s: float) -> None:
    """However late the clock comes, the pong may lie there unread: each time the stream gets another moment."""
    stream = opened()
    stream.ping(30.0)
    stream.on_time(45.0 + late_s)
    assert not stream.is_broken
    stream.on_time(245.0)
    assert not stream.is_broken
    stream.ponged()
    stream.on_time(290.0)
    assert not stream.is_broken
    assert stream.ping(290.0) is not None


def test_a_ping_that_cannot_be_written_breaks_it_too() -> None:
    """A connection that takes nothing: the ping is due and stays so, without keeping the clock busy."""
    stream = opened()
    stream.on_time(30.0)
    assert stream.due_s() == 45.0
    stream.on_time(45.0)
    assert not stream.wants_end(45.0)
    stream.on_time(46.0)
    assert stream.wants_end(46.0)
    written = opened()
    written.on_time(30.0)
    assert written.ping(44.0) is not None
    written.on_time(46.0)
    assert not written.is_broken
    assert written.due_s() == 59.0


def test_leaving_waits_for_outcomes_until_its_time() -> None:
    """Nothing new is sent; it ends when the last outcome is there, or when time is up."""
    stream = opened()
    outgoing = send_message("hi", "bob", "", None, NotifyLevel.NORMAL, "one")
    stream.numbered(outgoing.command, outgoing)
    assert stream.room() == 1
    stream.leave(5.0, 8.0)
    assert stream.room() == 0
    assert not stream.wants_end(4.9)
    assert stream.wants_end(5.0)
    stream.in_flight.clear()
    assert stream.wants_end(1.0)
    assert stream.reconnect_s == 8.0


def test_numbers_rise_and_commands_are_copied() -> None:
    """Each try has its own number, and the command in the outbox stays as it was."""
    stream = opened()
    outgoing = send_message("hi", "bob", "", None, NotifyLevel.NORMAL, "one")
    numbers = [stream.numbered(outgoing.command, None).command_id for _ in range(3)]
    assert numbers == [1, 2, 3]
    assert outgoing.command.command_id == 0


def test_the_cells_clock_is_followed_not_ours() -> None:
    """Its time is that of Welcome, and what has passed since."""
    assert opened().server_us(2.5) == 1_002_500_000
