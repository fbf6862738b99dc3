"""The brokers of the log: who leads which partition, who coordinates a group, and connections to them."""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from kafka.protocol.consumer import ListOffsetsRequest, OffsetFetchRequest
from kafka.protocol.metadata import FindCoordinatorRequest, MetadataRequest

from event_log.kafka_connection import Connection, ConnectionLost, connect, error_name
from event_log.kafka_settings import KafkaLogSettings, address_of
from event_log.port import Commit, LogError, LogUnavailable

_logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

CONTROL = "control"
"""The purpose of connections for requests that are answered at once."""
START, END = -2, -1
"""What ListOffsets takes for the first record that is there, and for one above the last durable one."""
_METADATA_VERSION = 12
_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5
_PATIENCE_S = 0.5
"""How long what some brokers have told waits for what the others tell (I14)."""
_QUIET_S = 10.0
NO_ERROR = 0
_COORDINATOR_MOVED = {14, 15, 16}
"""COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR."""


class TopicMissing(LogError):
    """There is no topic of this name."""


class OtherIncarnation(LogUnavailable):
    """The topic was deleted and made anew: it is another log. What uses the former one must be started again."""


class TopicState(NamedTuple):
    """What is known of the topic."""

    topic_id: Any
    """A uuid.UUID."""
    leaders: Mapping[int, int]
    """Node that leads each partition; without those that nobody leads."""
    replicas: Mapping[int, int]
    """Copies of each partition, alive or not."""
    epochs: Mapping[int, int] = MappingProxyType({})
    """How often each partition has got a leader: told to whom is asked, a broker that led before, or does not know yet that
    it leads, refuses to answer (KIP-320)."""

    @property
    def incarnation(self) -> str:
        """The topic's id as Kafka writes it."""
        return base64.urlsafe_b64encode(self.topic_id.bytes).decode().rstrip("=")

    def epoch(self, partition: int) -> int:
        """The epoch of the partition's leader; -1, which every broker takes, where none is known."""
        return self.epochs.get(partition, -1)

    def after(self, known: "TopicState | None") -> "TopicState":
        """This, but what an earlier answer told of a later epoch: brokers learn of leaders one after the other."""
        later = {p for p, epoch in known.epochs.items() if epoch > self.epoch(p) >= 0} if known else set()
        if known is None or not later:
            return self
        leaders = {p: node for p, node in self.leaders.items() if p not in later}
        leaders |= {p: node for p, node in known.leaders.items() if p in later}
        return self._replace(leaders=leaders, epochs={**self.epochs, **{p: known.epochs[p] for p in later}})


class Brokers:
    """Everything here belongs to one event loop."""

    def __init__(self, settings: KafkaLogSettings) -> None:
        self.settings = settings
        self.topic: TopicState | None = None
        self.gone: OtherIncarnation | None = None
        """Set once the log is known to be another than it was."""
        self.opened = False
        """Whether brokers have let us in and were fit: one that refuses from then on is in trouble, which passes."""
        self._context = settings.security.context()
        self._addresses: dict[int, tuple[str, int]] = {}
        self._connections: dict[tuple[str, int], Connection] = {}
        self._connecting: dict[tuple[str, int], asyncio.Task[Connection]] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._coordinators: dict[str, int] = {}
        self._reported: dict[str, float] = {}
        self._closed = False

    def report(self, what: str, error: LogError) -> None:
        """Log what somebody cannot do now and tries again, at most once in a while for each."""
        now = asyncio.get_running_loop().time()
        if now - self._reported.get(what, -_QUIET_S) >= _QUIET_S:
            self._reported[what] = now
            _logger.warning("%s: %s", what, error)

    @property
    def nodes(self) -> Iterable[int]:
        """Ids of the brokers that are alive, as far as is known."""
        return self._addresses.keys()

    def leader(self, partition: int) -> int | None:
        """The node that leads a partition; None where nobody is known to."""
        return self.topic.leaders.get(partition) if self.topic else None

    async def leader_now(self, partition: int) -> int:
        """The node that leads a partition, asked for if it is not known. Raises LogUnavailable."""
        leader = self.leader(partition)
        if leader is None:
            await self.refresh()
            leader = self.leader(partition)
        if leader is None:
            raise LogUnavailable(f"partition {partition} has no leader")
        return leader

    async def connection(self, node: int, purpose: str = CONTROL) -> Connection:
        """An open connection to a node, of those for one purpose. Raises ConnectionLost, before `opened` LoginRefused."""
        key = (purpose, node)
        found = self._connections.get(key)
        if found is not None and found.is_open:
            return found
        if self._closed:
            raise ConnectionLost("the log is closed")
        if key not in self._connecting:
            self._connecting[key] = asyncio.create_task(self._connect(key))
        return await asyncio.shield(self._connecting[key])

    def open_connection(self, node: int, purpose: str) -> Connection | None:
        """The connection, if there is an open one."""
        found = self._connections.get((purpose, node))
        return found if found is not None and found.is_open else None

    async def ask(self, node: int, request: Any, purpose: str = CONTROL, timeout_s: float = 0.0) -> Any:
        """A node's answer. Raises as `connection` does."""
        connection = await self.connection(node, purpose)
        return await connection.ask(request, timeout_s or self.settings.request_timeout_s)

    async def ask_any(self, request: Callable[[], Any]) -> Any:
        """The answer of some node. Raises as `connection` does."""
        failure: Exception = ConnectionLost("no broker is known")
        for node in tuple(self._addresses):
            try:
                return await self.ask(node, request())
            except ConnectionLost as error:
                failure = error
                self._ask_last(node)
        return await self._ask_first_servers(request, failure)

    def disconnect(self, purpose: str) -> None:
        """Close the connections of a purpose."""
        for key in [key for key in self._connections if key[0] == purpose]:
            self._connections.pop(key).close()

    async def refresh(self) -> None:
        """Learn anew who leads what; those who ask at the same time share one answer.

        Raises LogUnavailable, OtherIncarnation, before `opened` TopicMissing, LoginRefused.
        """
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh())
            self._refreshing.add_done_callback(self._refreshed)
        await asyncio.shield(self._refreshing)

    async def coordinator(self, group: str) -> int:
        """The node that coordinates a group. Raises LogUnavailable, before `opened` LoginRefused."""
        if group not in self._coordinators:
            answer = await self.ask_any(
                lambda: FindCoordinatorRequest(key=group, key_type=0, coordinator_keys=[group])
            )
            found = answer.coordinators[0] if answer.coordinators else answer
            if found.error_code:
                raise LogUnavailable(f"group {group} has no coordinator: {error_name(found.error_code)}")
            self._addresses[found.node_id] = (found.host, found.port)
            self._coordinators[group] = found.node_id
        return self._coordinators[group]

    def forget_coordinator(self, group: str) -> None:
        """It is another one now, or gone."""
        self._coordinators.pop(group, None)

    async def insist(self, what: str, attempt: Callable[[], Awaitable[Answer]], timeout_s: float) -> Answer:
        """Make an attempt again and again until it succeeds. Raises LogUnavailable after a time, with the last reason."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        pause_s = _PAUSE_S
        while True:
            try:
                return await attempt()
            except OtherIncarnation:
                raise
            except LogUnavailable as error:
                if self._closed or asyncio.get_running_loop().time() + pause_s > deadline:
                    raise LogUnavailable(f"{what}: {error}") from error
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def offsets(self, partitions: Iterable[int], where: int) -> dict[int, int]:
        """START or END of partitions, asked for after the call was made.

        Without those that cannot be reached, for which the others wait _PATIENCE_S. Raises LogUnavailable if that is all.
        """
        wanted = frozenset(partitions)
        found: dict[int, int] = {}
        loop = asyncio.get_running_loop()

        async def ask(node: int | None, missing: list[int]) -> None:
            told = {} if node is None else await self._offsets_of(node, missing, where)
            found.update(told)
            if found and patience.when() is None:
                patience.reschedule(loop.time() + _PATIENCE_S)
            if len(told) < len(missing):
                await self.refresh()

        async def attempt() -> None:
            by_node: dict[int | None, list[int]] = {}
            for partition in wanted - found.keys():
                by_node.setdefault(self.leader(partition), []).append(partition)
            asks = [ask(node, missing) for node, missing in by_node.items()]
            for failure in await asyncio.gather(*asks, return_exceptions=True):
                if failure is not None:
                    raise failure
            if len(found) < len(wanted):
                raise LogUnavailable("some partitions have no leader, or another one by now")

        what = "the log's bounds cannot be read"
        try:
            async with asyncio.timeout(None) as patience:
                await self.insist(what, attempt, self.settings.request_timeout_s)
        except OtherIncarnation:
            raise
        except (LogUnavailable, TimeoutError):
            if not found:
                raise
        return found

    async def leader_of_letters(self) -> tuple[int, Any]:
        """The node that takes dead letters, and the id of their topic. Raises as `refresh` does."""
        state = await self._topic(self.settings.dead_letter_topic)
        if 0 not in state.leaders:
            raise LogUnavailable(f"topic {self.settings.dead_letter_topic!r} has no leader")
        return state.leaders[0], state.topic_id

    async def start_of_letters(self) -> int:
        """The first dead letter that is there. Raises as `refresh` does."""
        node, _ = await self.leader_of_letters()
        found = await self._offsets_of(node, [0], START, self.settings.dead_letter_topic)
        if 0 not in found:
            raise LogUnavailable("the start of the dead letters is not told")
        return found[0]

    async def ask_controller(self, request: Any) -> Any:
        """The answer of the node that makes topics. Raises LogUnavailable, LoginRefused."""
        answer = await self._metadata([])
        return await self.ask(answer.controller_id, request, timeout_s=self.settings.open_timeout_s)

    async def committed(self, group: str, partitions: Iterable[int]) -> dict[int, Commit]:
        """What a group committed. Raises LogUnavailable."""
        wanted = tuple(partitions)
        return await self.insist(
            f"what group {group} committed cannot be read",
            lambda: self._committed(group, wanted),
            self.settings.request_timeout_s,
        )

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        tasks = [*self._connecting.values(), *([self._refreshing] if self._refreshing else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in self._connections.values():
            connection.close("the log is closed")

    def _ask_last(self, node: int) -> None:
        """Of any that may answer others are asked before."""
        if node in self._addresses:
            self._addresses[node] = self._addresses.pop(node)

    async def _connect(self, key: tuple[str, int]) -> Connection:
        try:
            address = self._addresses.get(key[1])
            if address is None:
                raise ConnectionLost(f"broker {key[1]} is not known")
            connection = await self._connect_to(*address)
            self._connections[key] = connection
            return connection
        finally:
            del self._connecting[key]

    async def _connect_to(self, host: str, port: int) -> Connection:
        try:
            return await connect(
                host, port, self.settings.security, self._context, self.settings.request_timeout_s
            )
        except LogUnavailable:
            raise
        except LogError as error:
            raise self._refused(error, ConnectionLost) from error

    def _refused(self, error: LogError, later: type[LogUnavailable]) -> LogError:
        """What to raise: the error while the log is being opened, since it will not pass; afterwards `later`, which may."""
        if not self.opened:
            return error
        self.report("a broker refuses what it took before", error)
        return later(str(error))

    async def _ask_first_servers(self, request: Callable[[], Any], failure: Exception) -> Any:
        for server in self.settings.servers:
            try:
                connection = await self._connect_to(*address_of(server))
            except ConnectionLost as error:
                failure = error
                continue
            try:
                return await connection.ask(request(), self.settings.request_timeout_s)
            except ConnectionLost as error:
                failure = error
            finally:
                connection.close()
        raise failure

    def _refreshed(self, task: "asyncio.Task[None]") -> None:
        self._refreshing = None
        if not task.cancelled():
            task.exception()  # whoever waits for it is told; it may be nobody

    async def wait_for_topics(self, names: Iterable[str]) -> None:
        """Until all brokers know of them and who leads them; new ones are not known everywhere at once.

        Raises LogUnavailable if that is not yet so.
        """
        if not (await self._metadata([])).brokers:
            raise LogUnavailable("no broker is alive")
        wanted = tuple(names)
        for node in tuple(self._addresses):
            for found in (await self.ask(node, _metadata_request(wanted))).topics:
                if found.error_code or any(p.error_code or p.leader_id < 0 for p in found.partitions):
                    raise LogUnavailable(f"topic {found.name!r} is not yet known to broker {node}")

    async def _metadata(self, topics: Iterable[str]) -> Any:
        """What a broker tells of the others and of topics: another one each time.

        One that is cut off from the others, and not from us, would tell what was, again and again.
        """
        for first in tuple(self._addresses)[:1]:
            self._ask_last(first)
        answer = await self.ask_any(lambda: _metadata_request(topics))
        for broker in answer.brokers:
            self._addresses[broker.node_id] = (broker.host, broker.port)
        alive = {broker.node_id for broker in answer.brokers}
        for gone in self._addresses.keys() - alive:
            del self._addresses[gone]
        return answer

    async def _topic(self, name: str) -> TopicState:
        answer = await self._metadata([name])
        (found,) = answer.topics
        if found.error_code == 3:
            raise self._refused(TopicMissing(f"there is no topic {name!r}"), LogUnavailable)
        if found.error_code:
            raise LogUnavailable(f"topic {name!r}: {error_name(found.error_code)}")
        return TopicState(
            found.topic_id,
            {p.partition_index: p.leader_id for p in found.partitions if p.leader_id >= 0},
            {p.partition_index: len(p.replica_nodes) for p in found.partitions},
            {p.partition_index: p.leader_epoch for p in found.partitions},
        )

    async def _refresh(self) -> None:
        topic = self.settings.topic
        state = await self._topic(topic)
        if self.topic is not None and state.topic_id != self.topic.topic_id:
            self.gone = OtherIncarnation(f"topic {topic!r} was deleted and made anew")
            raise self.gone
        self.topic = state.after(self.topic)

    async def _offsets_of(
        self, node: int, partitions: Iterable[int], where: int, name: str = ""
    ) -> dict[int, int]:
        """Of those that the node tells; the others are to be asked for again. Of the log's topic, or another.

        Raises LogUnavailable.
        """
        topic, partition = (
            ListOffsetsRequest.ListOffsetsTopic,
            ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition,
        )
        known = None if name else self.topic
        request = ListOffsetsRequest(
            replica_id=-1,
            isolation_level=0,
            topics=[
                topic(
                    name=name or self.settings.topic,
                    partitions=[
                        partition(
                            partition_index=index,
                            current_leader_epoch=known.epoch(index) if known else -1,
                            timestamp=where,
                        )
                        for index in partitions
                    ],
                )
            ],
            max_version=6,
        )
        try:
            answer = await self.ask(node, request)
        except ConnectionLost:
            return {}
        return {p.partition_index: p.offset for t in answer.topics for p in t.partitions if not p.error_code}

    async def _committed(self, group: str, partitions: Iterable[int]) -> dict[int, Commit]:
        topic = OffsetFetchRequest.OffsetFetchRequestTopic
        request = OffsetFetchRequest(
            group_id=group,
            topics=[topic(name=self.settings.topic, partition_indexes=list(partitions))],
            require_stable=False,
            max_version=7,
        )
        try:
            answer = await self.ask(await self.coordinator(group), request)
        except ConnectionLost:
            self.forget_coordinator(group)
            raise
        if answer.error_code:
            if answer.error_code in _COORDINATOR_MOVED:
                self.forget_coordinator(group)
            raise LogUnavailable(error_name(answer.error_code))
        commits: dict[int, Commit] = {}
        for found in (found for t in answer.topics for found in t.partitions):
            if found.error_code:
                raise LogUnavailable(error_name(found.error_code))
            if found.committed_offset >= 0:
                commits[found.partition_index] = Commit(found.committed_offset, found.metadata or "")
        return commits


def _metadata_request(topics: Iterable[str]) -> Any:
    return MetadataRequest(
        topics=[MetadataRequest.MetadataRequestTopic(name=name) for name in topics],
        allow_auto_topic_creation=False,
        max_version=_METADATA_VERSION,
    )
