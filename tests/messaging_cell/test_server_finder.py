"""Finding servers: lists, names that stand for many, and what comes and goes."""

import socket
from typing import Any

import pytest

from delivery_service.links import LinkTarget
from messaging_cell import server_finder
from messaging_cell.server_finder import ServerFinder
from messaging_cell.setting_kinds import SERVERS
from session_link.port import OwnerEnd


class Found:
    """A finder, and what it has found."""

    def __init__(self, servers: str) -> None:
        self.targets: list[LinkTarget] = []
        self.dialed: list[tuple[str, str]] = []
        self.finder = ServerFinder(SERVERS.read(servers), self._dial, self.targets.append)

    async def _dial(self, address: str, name: str) -> OwnerEnd:
        self.dialed.append((address, name))
        raise ConnectionRefusedError

    @property
    def names(self) -> list[str]:
        return [target.name for target in self.targets]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names stand for; no name, no answer."""
    known: dict[str, list[str]] = {}

    async def hosts(name: str) -> list[str]:
        if name not in known:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return known[name]

    monkeypatch.setattr(server_finder, "_hosts", hosts)
    return known


async def test_a_list_is_taken_as_it_is() -> None:
    """Each host with each of its ports, once; and looked at once only."""
    found = Found("one:7-8,[::1]:9,one:8")
    await found.finder.run()
    assert sorted(found.names) == ["[::1]:9", "one:7", "one:8"]
    with pytest.raises(ConnectionRefusedError):
        await found.targets[0].dial()
    assert len(found.dialed) == 1


async def test_a_name_stands_for_all_its_addresses(names: dict[str, list[str]]) -> None:
    """Each is dialed by its address, as the server of the name: that is what its certificate says."""
    names["servers"] = ["10.0.0.2", "10.0.0.1"]
    found = Found("dns:servers:7-8")
    await found.finder.look()
    assert found.names == ["10.0.0.1:7", "10.0.0.1:8", "10.0.0.2:7", "10.0.0.2:8"]
    with pytest.raises(ConnectionRefusedError):
        await found.targets[0].dial()
    assert found.dialed == [("10.0.0.1:7", "servers")]


async def test_what_is_dropped_is_not_dialed_again_and_told_anew_when_it_comes_back(
    names: dict[str, list[str]],
) -> None:
    """Not before its link has ended, since two links to one server would replace each other for ever."""
    names["servers"] = ["10.0.0.1", "10.0.0.2"]
    found = Found("dns:servers:7")
    await found.finder.look()
    first = found.targets[0]
    names["servers"] = ["10.0.0.2"]
    await found.finder.look()
    names["servers"] = ["10.0.0.1", "10.0.0.2"]
    await found.finder.look()
    assert len(found.targets) == 2, "its link was there all the time"
    assert first.wanted()
    names["servers"] = ["10.0.0.2"]
    await found.finder.look()
    assert not first.wanted()
    names["servers"] = ["10.0.0.1", "10.0.0.2"]
    await found.finder.look()
    assert found.names == ["10.0.0.1:7", "10.0.0.2:7", "10.0.0.1:7"]


async def test_a_name_without_an_answer_keeps_what_it_stood_for(names: dict[str, list[str]]) -> None:
    """A name server that is away drops nobody."""
    names["servers"] = ["10.0.0.1"]
    found = Found("dns:servers:7")
    await found.finder.look()
    del names["servers"]
    await found.finder.look()
    assert found.targets[0].wanted()


async def test_a_name_without_an_answer_holds_up_no_other(names: dict[str, list[str]]) -> None:
    """Servers of a list, and of the names that are known, are found all the same."""
    names["here"] = ["10.0.0.1"]
    found = Found("dns:gone:7,dns:here:7,listed:7")
    await found.finder.look()
    assert found.names == ["10.0.0.1:7", "listed:7"]
    names |= {"gone": ["10.0.0.2"], "here": ["10.0.0.3"]}
    await found.finder.look()
    assert found.names[2:] == ["10.0.0.2:7", "10.0.0.3:7"]


async def test_one_family_of_addresses_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with an address of each family is still one server."""

    async def resolve(*_: Any, **__: Any) -> list[Any]:
        return [
            (socket.AF_INET6, 0, 0, "", ("::1", 0, 0, 0)),
            (socket.AF_INET, 0, 0, "", ("127.0.0.1", 0)),
            (socket.AF_INET, 0, 0, "", ("127.0.0.1", 0)),
        ]

    import asyncio

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
    found = Found("dns:localhost:7")
    await found.finder.look()
    assert found.names == ["127.0.0.1:7"]
