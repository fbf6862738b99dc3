"""A connection to a Cassandra cluster: statements from tasks of an event loop, failures in the terms of the store port.

The driver has threads of its own. A task's query comes back by one hop to its loop; what is written is written by one
thread, which waits for all statements of a batch and then hops back once.
"""

import asyncio
import logging
import ssl
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from cassandra import AuthenticationFailed, ConsistencyLevel, DriverException, InvalidRequest, Unauthorized
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    Session,
    UnresolvableContactPoints,
)
from cassandra.connection import ConnectionBusy, ConnectionException
from cassandra.policies import DCAwareRoundRobinPolicy, ExponentialReconnectionPolicy, TokenAwarePolicy
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import ErrorMessage, SyntaxException
from cassandra.query import PreparedStatement, tuple_factory

from history_service.port import StoreError, StoreUnavailable

R = TypeVar("R")
Row = tuple[Any, ...]

_READS_AT_ONCE = 128
"""Queries under way; more wait in turn."""
_WRITES_AT_ONCE = 64
"""Statements of the writer under way."""
_BUSY_TRIES, _BUSY_PAUSE_S = 100, 0.02
"""A full socket makes the driver refuse a statement at once instead of waiting: it is given again."""
_ROWS_A_FETCH = 500
_DEFINE_TIMEOUT_S = 120.0
_HOPELESS = (InvalidRequest, SyntaxException, Unauthorized)
"""Failures that stay when one tries again."""
_PASSING = (DriverException, ErrorMessage, ConnectionException, ConnectionBusy, NoConnectionsAvailable)


@dataclass(frozen=True, slots=True, kw_only=True)
class CassandraSettings:
    """Which cluster, and how to get in."""

    contact_points: tuple[tuple[str, int], ...]
    """(host, port) of some nodes; the others are found through them."""
    keyspace: str
    datacenter: str = ""
    """The one whose nodes are asked; empty = that of the contact points."""
    username: str = ""
    """Empty = no log-in."""
    password: str = ""
    tls: ssl.SSLContext | None = None
    request_timeout_s: float = 10.0
    """For one statement."""
    connect_timeout_s: float = 5.0
    """For one connection."""
    development: bool = False
    """Take a keyspace that keeps one copy of each row."""


class TooLarge(Exception):
    """An answer has more bytes than was allowed for."""


class CassandraSession:
    """Open it, use it from tasks of one event loop, close it. Its methods raise StoreUnavailable and StoreError."""

    def __init__(self, cluster: Cluster, session: Session) -> None:
        """Use `connect`."""
        self._cluster = cluster
        self._session = session
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="cassandra-writer")
        self._first_copies = _FirstCopies(cluster)

    @classmethod
    async def connect(cls, settings: CassandraSettings) -> Self:
        """A connection to the cluster; statements name their keyspace."""
        return await asyncio.to_thread(_connect, cls, settings)

    @property
    def datacenter(self) -> str:
        """The one that was connected to."""
        return str(self._cluster.metadata.all_hosts()[0].datacenter)

    def replication(self, keyspace: str) -> dict[str, int] | None:
        """Copies of a keyspace's rows by datacenter; None where there is no such keyspace. Blocks."""
        rows = self.run(
            "select replication from system_schema.keyspaces where keyspace_name = %s", (keyspace,)
        )
        if not rows:
            return None
        options = dict(rows[0][0])
        if options.pop("class").endswith("SimpleStrategy"):
            return {self.datacenter: int(options["replication_factor"])}
        return {name: int(copies) for name, copies in options.items()}

    def has_table(self, keyspace: str, table: str) -> bool:
        """Whether there is such a table. Blocks."""
        query = "select table_name from system_schema.tables where keyspace_name = %s and table_name = %s"
        return bool(self.run(query, (keyspace, table)))

    def prepare(self, cql: str) -> PreparedStatement:
        """A statement to run many times; it may be run again where it is not known whether it was run. Blocks."""
        with told_as_store_errors():
            statement = self._session.prepare(cql)
        statement.is_idempotent = True
        return statement

    def run(self, cql: str, values: Sequence[object] = ()) -> list[Row]:
        """Run a statement once. Blocks."""
        with told_as_store_errors():
            return list(self._session.execute(cql, values or None))

    def define(self, cql: str) -> None:
        """Make a keyspace or a table, however long it takes until all nodes know it. Blocks."""
        with told_as_store_errors():
            self._session.execute(cql, timeout=_DEFINE_TIMEOUT_S)

    async def rows(
        self, statement: PreparedStatement, values: Sequence[object], max_bytes: int | None = None
    ) -> list[Row]:
        """All rows that a query gives, none of a write. Raises TooLarge once its blobs are more than `max_bytes`.

        Raises StoreUnavailable, StoreError. Beside `in_writer`, for writes of one row that many callers wait for.
        """
        with told_as_store_errors():
            for _ in range(_BUSY_TRIES):
                await self._reads.acquire()
                try:
                    return await asyncio.shield(self._query(statement, values, max_bytes))
                except NoHostAvailable as error:
                    if not _is_busy(error):
                        raise
                await asyncio.sleep(_BUSY_PAUSE_S)
        raise StoreUnavailable("the connections to Cassandra stay full")

    def _query(
        self, statement: PreparedStatement, values: Sequence[object], max_bytes: int | None
    ) -> "asyncio.Future[list[Row]]":
        """Begin a query. It has its place among those under way until it ends, though whoever asks may not wait for it."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Row]] = loop.create_future()
        done.add_done_callback(self._ended)
        try:
            _Query(self._session, statement, values, max_bytes, loop, done)
        except Exception as error:
            done.set_exception(error)
        return done

    def _ended(self, done: "asyncio.Future[list[Row]]") -> None:
        self._reads.release()
        done.exception()  # seen, also where nobody waits any more

    async def row(self, statement: PreparedStatement, values: Sequence[object]) -> Row | None:
        """The first row that a query gives, None if there is none."""
        return next(iter(await self.rows(statement, values)), None)

    async def in_writer(self, work: Callable[["Writer"], R]) -> R:
        """Run what writes in the thread for it, one at a time."""
        loop = asyncio.get_running_loop()
        writer = Writer(self._session, self._first_copies)
        return await loop.run_in_executor(self._writer, lambda: _guarded(work, writer))

    async def close(self) -> None:
        """Finish what is being written, and let go."""
        await asyncio.to_thread(self._writer.shutdown)
        await asyncio.to_thread(self._cluster.shutdown)


class Writer:
    """Runs statements in the writer's thread, some at a time."""

    def __init__(self, session: Session, first_copies: "_FirstCopies") -> None:
        self._session = session
        self._first_copies = first_copies

    def node_of(self, statement: PreparedStatement, values: Sequence[object]) -> object:
        """Names the node that has the first copy of the row that a statement writes."""
        return self._first_copies.node_of(statement, values)

    def run(self, statements: Iterable[Any]) -> None:
        """Run them in any order and wait for all. Raises what one of them failed with, in the driver's terms."""
        for _ in range(_BUSY_TRIES):
            failed = self._run(statements)
            refused = [error for _, error in failed if not _is_busy(error)]
            if refused:
                raise refused[0]
            if not failed:
                return
            statements = [statement for statement, _ in failed]
            time.sleep(_BUSY_PAUSE_S)
        raise StoreUnavailable("the connections to Cassandra stay full")

    def _run(self, statements: Iterable[Any]) -> list[tuple[Any, Exception]]:
        """Run them until one is refused, wait for all, and tell which of them failed; others may not have begun."""
        room = threading.Semaphore(_WRITES_AT_ONCE)
        failed: list[tuple[Any, Exception]] = []

        def done(_rows: object) -> None:
            room.release()

        def fail(error: Exception, statement: object) -> None:
            failed.append((statement, error))
            room.release()

        for statement in statements:
            room.acquire()
            if failed and not _is_busy(failed[-1][1]):
                room.release()
                break
            future = self._session.execute_async(statement)
            future.add_callbacks(done, fail, errback_args=(statement,))
        for _ in range(_WRITES_AT_ONCE):
            room.acquire()
        return failed

    def rows(self, statement: PreparedStatement, values: Sequence[object]) -> list[Row]:
        """What one statement gives."""
        return list(self._session.execute(statement, values))


class _Query:
    """One query, page after page, until its future has all rows. Everything but making it runs in the driver's thread."""

    __slots__ = ("_bytes", "_done", "_loop", "_max_bytes", "_response", "_rows")

    def __init__(
        self,
        session: Session,
        statement: PreparedStatement,
        values: Sequence[object],
        max_bytes: int | None,
        loop: asyncio.AbstractEventLoop,
        done: "asyncio.Future[list[Row]]",
    ) -> None:
        self._rows: list[Row] = []
        self._bytes = 0
        self._max_bytes = max_bytes
        self._loop = loop
        self._done = done
        self._response = session.execute_async(statement, values)
        self._response.add_callbacks(self._page, self._fail)

    def _page(self, rows: Sequence[Row] | None) -> None:
        rows = rows or ()  # None is the answer to a write
        self._rows += rows
        if self._max_bytes is not None:
            self._bytes += sum(len(value) for row in rows for value in row if type(value) is bytes)
            if self._bytes > self._max_bytes:
                self._fail(TooLarge())
                return
        if self._response.has_more_pages:
            self._response.start_fetching_next_page()
        else:
            self._loop.call_soon_threadsafe(self._settle)

    def _fail(self, error: Exception) -> None:
        self._loop.call_soon_threadsafe(self._settle, error)

    def _settle(self, error: Exception | None = None) -> None:
        if error is None:
            self._done.set_result(self._rows)
        else:
            self._done.set_exception(error)


class _FirstCopies:
    """Which node has the first copy of a row. Rows of one node go there in one batch, and it takes that apart.

    A batch that spans nodes would make one of them pass most of it on. Where the ring changes, or is not known, batches are
    only less well cut.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._metadata = cluster.metadata

    def node_of(self, statement: PreparedStatement, values: Sequence[object]) -> object:
        """Something that is equal for rows of one node."""
        ring = self._metadata.token_map
        if ring is None or len(self._metadata.all_hosts()) == 1:
            return None
        token = ring.token_class.from_key(statement.bind(values).routing_key)
        place = bisect_left(ring.ring, token)
        return ring.token_to_host_owner[ring.ring[place % len(ring.ring)]]


@contextmanager
def told_as_store_errors() -> Iterator[None]:
    """Failures of the driver as the store port names them."""
    try:
        yield
    except _HOPELESS as error:
        raise StoreError(f"Cassandra refuses a statement: {error}") from error
    except NoHostAvailable as error:
        if _is_log_in(error):
            raise StoreError(f"Cassandra refuses the username or password ({_tried(error)})") from error
        raise StoreUnavailable(f"no node of Cassandra answers ({_tried(error)})") from error
    except UnresolvableContactPoints as error:
        raise StoreUnavailable("no node of Cassandra is found by these names") from error
    except _PASSING as error:
        raise StoreUnavailable(str(error) or type(error).__name__) from error


def _connect(kind: type[CassandraSession], settings: CassandraSettings) -> Any:
    balancing = TokenAwarePolicy(DCAwareRoundRobinPolicy(settings.datacenter))
    profile = ExecutionProfile(
        load_balancing_policy=balancing,
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
        request_timeout=settings.request_timeout_s,
        row_factory=tuple_factory,
    )
    login = PlainTextAuthProvider(settings.username, settings.password) if settings.username else None
    with _silent_driver(), told_as_store_errors():
        cluster = _cluster(settings, login, profile)
        try:
            session = cluster.connect()
        except BaseException as error:
            cluster.shutdown()
            known = {host.datacenter for host in cluster.metadata.all_hosts()} - {None}
            if isinstance(error, NoHostAvailable) and known and settings.datacenter not in known:
                raise StoreError(
                    f"datacenter is set to {settings.datacenter!r}, but nodes are in {', '.join(sorted(known))}"
                ) from error
            raise
    session.default_fetch_size = _ROWS_A_FETCH
    return kind(cluster, session)


def _cluster(
    settings: CassandraSettings, login: PlainTextAuthProvider | None, profile: ExecutionProfile
) -> Cluster:
    return Cluster(
        contact_points=list(settings.contact_points),
        auth_provider=login,
        ssl_context=settings.tls,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        reconnection_policy=ExponentialReconnectionPolicy(0.5, 5.0, max_attempts=None),
        connect_timeout=settings.connect_timeout_s,
        control_connection_timeout=settings.connect_timeout_s,
        protocol_version=4,
    )


@contextmanager
def _silent_driver() -> Iterator[None]:
    """Whoever connects is told what fails by an exception; the driver logs it too, with its stack, several times."""
    logger = logging.getLogger("cassandra")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _guarded(work: Callable[[Writer], R], writer: Writer) -> R:
    with told_as_store_errors():
        return work(writer)


def _is_busy(error: Exception) -> bool:
    """Whether nothing was sent, because there was no room."""
    errors = error.errors if isinstance(error, NoHostAvailable) else None
    return isinstance(errors, dict) and any(isinstance(why, ConnectionBusy) for why in errors.values())


def _is_log_in(error: NoHostAvailable) -> bool:
    """Whether the credentials are refused, which trying again does not help."""
    errors = error.errors
    return isinstance(errors, dict) and any(isinstance(why, AuthenticationFailed) for why in errors.values())


def _tried(error: NoHostAvailable) -> str:
    """Which nodes were tried, and what each said."""
    errors = error.errors
    if isinstance(errors, dict) and errors:
        return ", ".join(f"{host}: {why}" for host, why in errors.items())
    return str(error.args[0])
