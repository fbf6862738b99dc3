"""Membership in a consumer group: joining, heartbeats, commits, leaving.

The group's coordinator is a broker. Members join, one of them assigns the partitions (kafka-python's cooperative-sticky
assignor), and a heartbeat's answer says when to join again. Joining never waits for the consumer: what was revoked and not
let go is claimed again. What the answers mean for the partitions is decided in `kafka_ownership`.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.protocol.consumer import (
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    OffsetCommitRequest,
    SyncGroupRequest,
)
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription

from event_log.kafka_brokers import END, START, Brokers
from event_log.kafka_connection import ConnectionLost, error_name
from event_log.kafka_ownership import Ownership
from event_log.port import Assignment, Commit, CommitFenced, LogError, LogUnavailable

_logger = logging.getLogger(__name__)
_numbers = itertools.count()

_PAUSE_S = 0.05
_LEAVE_TIMEOUT_S = 2.0
_PROTOCOL_TYPE = "consumer"
_SUBSCRIPTION_VERSION = 2
_ILLEGAL_GENERATION, _UNKNOWN_MEMBER, _REBALANCING, _MEMBER_ID_REQUIRED = 22, 25, 27, 79
_COORDINATOR_MOVED = (14, 15, 16)
_FATAL = {
    23: "another kind of consumer is in the group",
    24: "the group's name is not taken",
    26: "session_timeout_s is out of the bounds that the brokers set by group.min.session.timeout.ms and its like",
    30: "the brokers do not let us into the group: it takes READ on the group",
    81: "the group is full: group.max.size",
}


class GroupRefused(LogError):
    """The brokers will not have this member in the group, now or later."""


class Member:
    """One member. Made in a running event loop, where its tasks run until it leaves."""

    def __init__(self, brokers: Brokers, group: str, on_change: Callable[[], None]) -> None:
        """`on_change` is called when there is something to tell, or `failure` is set."""
        self.ownership = Ownership()
        self.failure: LogError | None = None
        """Why there is no going on."""
        self._brokers = brokers
        self._settings = brokers.settings
        self._group = group
        self._on_change = on_change
        self._name = next(_numbers)
        self._member_id = ""
        self._generation = -1
        self._in_step = asyncio.Event()
        """Not set before the member has joined, and while it does not know yet what it has in a new generation."""
        self._joining = False
        """The group may be ahead of the member, whose answer is on its way."""
        self._changed = asyncio.Event()
        self._letting_go_since = 0.0
        self._looking_up: dict[int, asyncio.Task[None]] = {}
        """By partition, what finds out where to start in it."""
        self._running = asyncio.create_task(self._run())

    def let_go(self) -> None:
        """The consumer is done with what it was told is revoked."""
        if self.ownership.let_go():
            self._changed.set()

    async def confirm(self) -> None:
        """Ask whether the member is still one; if not, it has lost what it had when this returns. Raises LogUnavailable."""
        if self._in_step.is_set() and not self._joining:
            await self._heartbeat()

    def check_owned(self, partitions: Iterable[int]) -> None:
        """Raise CommitFenced if the consumer does not own one of these."""
        for partition in partitions:
            if not self.ownership.owns(partition):
                raise CommitFenced(f"partition {partition} is not this member's in group {self._group}")

    async def commit(self, commits: Mapping[int, Commit]) -> None:
        """See GroupConsumer.commit."""
        await self._brokers.insist(
            f"group {self._group} cannot commit",
            lambda: self._commit(commits),
            self._settings.request_timeout_s,
        )

    async def leave(self) -> None:
        """Let go of everything and leave the group, if it can be reached."""
        tasks = {self._running, *self._looking_up.values()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.ownership.lose()
        if self._member_id:
            await self._leave()
        for purpose in (self._join_purpose, self._commit_purpose):
            self._brokers.disconnect(purpose)

    @property
    def _join_purpose(self) -> str:
        """Of connections for requests that are answered when all members have come."""
        return f"join-{self._name}"

    @property
    def _commit_purpose(self) -> str:
        return f"commit-{self._name}"

    async def _run(self) -> None:
        while True:
            try:
                await self._join()
                await self._stay()
            except LogUnavailable as error:
                self._brokers.report(f"group {self._group} cannot be joined", error)
                self._brokers.forget_coordinator(self._group)
                await asyncio.sleep(_PAUSE_S)
            except Exception as error:
                _logger.exception("group %s", self._group)
                self.failure = (
                    error if isinstance(error, LogError) else LogError(f"group {self._group}: {error!r}")
                )
                self._on_change()
                return

    async def _ask(self, request: Any, purpose: str, timeout_s: float = 0.0) -> Any:
        """The coordinator's answer. Raises LogUnavailable, GroupRefused."""
        node = await self._brokers.coordinator(self._group)
        try:
            answer = await self._brokers.ask(node, request, purpose, timeout_s)
        except ConnectionLost:
            self._brokers.forget_coordinator(self._group)
            raise
        self._judge(getattr(answer, "error_code", 0))
        return answer

    def _judge(self, code: int) -> None:
        """What an error code means for the member. Raises LogUnavailable, GroupRefused."""
        if code == 0 or code == _REBALANCING:
            return
        if code in _FATAL:
            raise GroupRefused(f"group {self._group}: {_FATAL[code]} ({error_name(code)})")
        if code in _COORDINATOR_MOVED:
            self._brokers.forget_coordinator(self._group)
        elif code == _UNKNOWN_MEMBER:
            self._lose("")
        elif code == _ILLEGAL_GENERATION:
            self._lose(self._member_id)
        raise LogUnavailable(f"{error_name(code)}")

    def _lose(self, member_id: str) -> None:
        """Others go on with what this member had."""
        if self._member_id:
            _logger.warning("group %s: this member was put out", self._group)
        self._member_id = member_id
        self._generation = -1
        self.ownership.lose()
        self._on_change()

    async def _join(self) -> None:
        """Take part in a new generation."""
        ownership = self.ownership
        ownership.needs_join = False
        subscription = ConsumerProtocolSubscription(
            version=_SUBSCRIPTION_VERSION,
            topics=[self._settings.topic],
            user_data=b"",
            owned_partitions=[
                ConsumerProtocolSubscription.TopicPartition(
                    topic=self._settings.topic, partitions=ownership.claims
                )
            ],
            generation_id=self._generation,
        )
        timeout_s = self._settings.let_go_timeout_s
        request = JoinGroupRequest(
            group_id=self._group,
            session_timeout_ms=int(self._settings.session_timeout_s * 1_000),
            rebalance_timeout_ms=int(timeout_s * 1_000),
            member_id=self._member_id,
            group_instance_id=None,
            protocol_type=_PROTOCOL_TYPE,
            protocols=[(CooperativeStickyAssignor.name, subscription)],
            max_version=7,
        )
        self._joining = True
        try:
            # Another member may take all of the time that the group gives it.
            joined = await self._ask_to_join(request, timeout_s + self._settings.request_timeout_s)
            if joined is not None:
                await self._sync(joined)
        except BaseException:
            ownership.needs_join = True
            raise
        finally:
            self._joining = False

    async def _ask_to_join(self, request: Any, timeout_s: float) -> Any:
        node = await self._brokers.coordinator(self._group)
        joined = await self._brokers.ask(node, request, self._join_purpose, timeout_s)
        if joined.error_code == _MEMBER_ID_REQUIRED:
            self._member_id = joined.member_id
            self.ownership.needs_join = True
            return None
        self._in_step.clear()
        self._judge(joined.error_code)
        if joined.error_code:
            self.ownership.needs_join = True
            await asyncio.sleep(_PAUSE_S)
            return None
        return joined

    async def _sync(self, joined: Any) -> None:
        """Hear what the member has in the generation that it joined, or say who has what if that is left to it."""
        self._member_id, self._generation = joined.member_id, joined.generation_id
        shares = self._assign(joined.members) if joined.leader == joined.member_id else {}
        request = SyncGroupRequest(
            group_id=self._group,
            generation_id=self._generation,
            member_id=self._member_id,
            group_instance_id=None,
            protocol_type=_PROTOCOL_TYPE,
            protocol_name=joined.protocol_name,
            assignments=list(shares.items()),
            max_version=5,
        )
        answer = await self._ask(request, self._join_purpose, self._settings.let_go_timeout_s)
        if answer.error_code:
            self.ownership.needs_join = True
            return
        share = ConsumerProtocolAssignment.decode(answer.assignment) if answer.assignment else None
        partitions = [p for topic in share.assigned_partitions for p in topic.partitions] if share else []
        self.ownership.assign(self._generation, partitions)
        self._letting_go_since = asyncio.get_running_loop().time()
        self._in_step.set()
        self._on_change()

    def _assign(self, members: Iterable[Any]) -> dict[str, Any]:
        """Who has what, as few partitions moved as balance takes, and none given away that is claimed."""
        count = self._settings.partitions
        for member in members:
            member.metadata = ConsumerProtocolSubscription.decode(member.metadata)
        topic = self._settings.topic
        cluster = SimpleNamespace(topics=lambda: {topic}, partitions_for_topic=lambda _: set(range(count)))
        shares: dict[str, Any] = CooperativeStickyAssignor().assign(cluster, members)
        return shares

    async def _stay(self) -> None:
        """Be a member until it must join again."""
        while not self.ownership.needs_join:
            self._changed.clear()
            self._look_up_soon()
            try:
                async with asyncio.timeout(self._settings.heartbeat_interval_s):
                    await self._changed.wait()
            except TimeoutError:
                await self._keep_alive()

    async def _keep_alive(self) -> None:
        if self.ownership.is_letting_go:
            waited_s = asyncio.get_running_loop().time() - self._letting_go_since
            if waited_s > self._settings.let_go_timeout_s:
                _logger.warning("group %s: the consumer does not let go, so it leaves", self._group)
                await self._leave()
                self._lose("")
                return
        try:
            await self._heartbeat()
        except LogUnavailable as error:
            # The coordinator, or the one that replaces it, gives everyone a whole session again.
            self._brokers.report(f"group {self._group} does not hear us", error)
            await asyncio.sleep(_PAUSE_S)

    async def _heartbeat(self) -> None:
        request = HeartbeatRequest(
            group_id=self._group,
            generation_id=self._generation,
            member_id=self._member_id,
            group_instance_id=None,
            max_version=4,
        )
        answer = await self._ask(request, self._commit_purpose)
        if answer.error_code == _REBALANCING:
            self.ownership.needs_join = True
            self._changed.set()

    def _look_up_soon(self) -> None:
        """Those that wait for a broker hold up none that come later (I14)."""
        under_way = self._looking_up = {p: task for p, task in self._looking_up.items() if not task.done()}
        wanted = {p: since for p, since in self.ownership.to_look_up().items() if p not in under_way}
        if wanted:
            under_way.update(dict.fromkeys(wanted, asyncio.create_task(self._look_up(wanted))))

    async def _look_up(self, wanted: Mapping[int, int]) -> None:
        """Find out where to start in partitions that are new to the member; what cannot be now, is asked for again."""
        try:
            commits = await self._brokers.committed(self._group, wanted)
            starts = await self._brokers.offsets(wanted, START)
            # Read last, so that it is not below what was committed.
            ends = await self._brokers.offsets(starts, END)
        except LogError as error:
            self._brokers.report(f"group {self._group} cannot find out where to start", error)
            await asyncio.sleep(_PAUSE_S)
            return
        for partition, commit in commits.items():
            if partition in ends and commit.offset > ends[partition]:
                self.failure = LogError(
                    f"partition {partition}: group {self._group} committed {commit.offset},"
                    f" but the log ends at {ends[partition]}: it has lost records"
                )
        self.ownership.found(
            Assignment(partition, wanted[partition], commits.get(partition), starts[partition], end)
            for partition, end in ends.items()
        )
        self._changed.set()
        self._on_change()

    async def _commit(self, commits: Mapping[int, Commit]) -> None:
        self.check_owned(commits)
        await self._until_in_step()
        self.check_owned(commits)
        generation = self._generation
        topic = OffsetCommitRequest.OffsetCommitRequestTopic
        part = topic.OffsetCommitRequestPartition
        request = OffsetCommitRequest(
            group_id=self._group,
            generation_id_or_member_epoch=generation,
            member_id=self._member_id,
            group_instance_id=None,
            topics=[
                topic(
                    name=self._settings.topic,
                    partitions=[
                        part(
                            partition_index=partition,
                            committed_offset=commit.offset,
                            committed_leader_epoch=-1,
                            committed_metadata=commit.metadata,
                        )
                        for partition, commit in commits.items()
                    ],
                )
            ],
            max_version=8,
        )
        node = await self._brokers.coordinator(self._group)
        answer = await self._brokers.ask(node, request, self._commit_purpose)
        codes = {p.error_code for t in answer.topics for p in t.partitions} - {0}
        if not codes:
            return
        # The group may be ahead of this member, whose answer to its joining is on its way; or have gone on without it,
        # which a heartbeat says.
        if codes & {_ILLEGAL_GENERATION, _UNKNOWN_MEMBER} and generation == self._generation:
            await self.confirm()
        raise _commit_failure(codes)

    async def _until_in_step(self) -> None:
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                await self._in_step.wait()
        except TimeoutError:
            raise LogUnavailable("the group is changing") from None

    async def _leave(self) -> None:
        identity = LeaveGroupRequest.MemberIdentity(
            member_id=self._member_id, group_instance_id=None, reason=None
        )
        request = LeaveGroupRequest(
            group_id=self._group, member_id=self._member_id, members=[identity], max_version=4
        )
        try:
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                await self._brokers.ask(
                    await self._brokers.coordinator(self._group), request, self._commit_purpose
                )
        except (LogError, TimeoutError) as error:
            _logger.info("group %s could not be left, it will notice: %s", self._group, error)
        self._member_id = ""


def _commit_failure(codes: set[int]) -> LogError:
    names = ", ".join(sorted(map(error_name, codes)))
    if 12 in codes:
        return LogError(f"the brokers do not take that much metadata: offset.metadata.max.bytes ({names})")
    if codes & {29, 30}:
        return LogError(
            f"the brokers do not let us commit: it takes READ on the topic and the group ({names})"
        )
    return LogUnavailable(names)
