"""Objects as values: equal ones are one, and what is done to one is done once."""

from collections import deque
from dataclasses import dataclass, field

from cell.log.v1 import record_pb2 as log
from check.model.real import Shelf, value_of
from delivery_service.forwarding import Forwarder, ForwardingSettings
from event_log.port import Fate
from messaging_server.presence import Agenda


@dataclass(slots=True)
class Thing:
    items: list[int] = field(default_factory=list)
    friend: "Thing | None" = None


def push(thing: Thing, item: int) -> int:
    thing.items.append(item)
    return len(thing.items)


def test_equal_things_have_one_number() -> None:
    """Whatever way they came to be."""
    shelf: Shelf[Thing] = Shelf()
    empty = shelf.put(Thing())
    one, size = shelf.do(empty, push, 1)
    assert size == 1
    assert one == shelf.put(Thing([1])) != empty
    assert shelf.get(empty).items == []


def test_what_is_done_is_done_once() -> None:
    """To the same thing with the same arguments."""
    shelf: Shelf[Thing] = Shelf()
    calls = []

    def look(thing: Thing, _: int) -> None:
        calls.append(thing)

    number = shelf.put(Thing())
    for _ in range(3):
        assert shelf.do(number, look, 1) == (number, None)
    shelf.do(number, look, 2)
    assert len(calls) == 2


def test_all_parts_count() -> None:
    """Numbers, orders, kinds, messages, and who is whose friend."""
    a, b = Thing(), Thing()
    a.friend, b.friend = b, a
    lone = Thing()
    lone.friend = lone
    things = [
        Thing(), Thing([1]), Thing([1, 2]), Thing([2, 1]), a, lone, Thing(friend=Thing()),
        (1, 2), [1, 2], deque([1, 2]), {1: 2}, {2: 1}, {1, 2}, b"1", "1", 1,
        log.Copy(source_offset=1), log.Copy(source_offset=2),
    ]  # fmt: skip
    assert len({value_of(thing) for thing in things}) == len(things)
    assert value_of({1: Thing(), 2: Thing([1])}) == value_of({1: Thing(), 2: Thing([1])})


def test_counts_are_no_part() -> None:
    """Figures tell what happened; two worlds that differ in them alone are one."""
    busy, idle = Agenda(), Agenda()
    busy.figures.overflows += 1
    assert value_of(busy) == value_of(idle)


def test_real_decisions_go_there_and_back() -> None:
    """A forwarder with copies under way, which know their lane and it, is the same after it was kept."""
    shelf: Shelf[Forwarder] = Shelf()
    forwarder = Forwarder(0, ForwardingSettings())
    forwarder.forward(0, log.LoggedEvent(), {1: ("ann",), 2: ("bob",)})
    record, other = forwarder.take(0.0)
    number = shelf.put(forwarder)
    assert shelf.put(shelf.get(number)) == number
    forwarder.settled(record.tag, Fate.APPENDED, 0.0)
    assert shelf.put(forwarder) != number
    assert other.tag.forwarder is forwarder
