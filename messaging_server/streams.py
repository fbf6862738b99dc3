"""Does what sessions wish: writes their frames, sends their attaches, reads log ends and history, wakes them in time.

Wishes are collected on the agenda and done once per turn of the event loop, so that what happens together is sent together.
A write task exists only while a stream has something to write.
"""

import asyncio
import contextlib
import itertools
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

import grpc
import structlog

from messaging_core import grpc_status
from messaging_core.events import EventsPage, HistoryUnavailable
from messaging_core.identity import Identity
from messaging_core.limits import ACCEPT_DEADLINE_S
from messaging_core.refusals import reason_name
from messaging_server import endings
from messaging_server.endings import Ending
from messaging_server.log_ends import LogEnds
from messaging_server.ports import EventHistory
from messaging_server.router import Router
from messaging_server.session import Session, Shared
from messaging_server.subscription import CLOSED, PAGING, Subscription
from messaging_server.timer import TICK_S, CoarseTimer

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

_DOUBT_S = 2.0
"""How long after a pause new calls are refused: what waited in sockets is read in this time."""

_log = structlog.get_logger(__name__)


class Stream(Session):
    """A session with the call it is written to."""

    __slots__ = ("_context", "done", "is_over", "room", "task")

    def __init__(
        self, shared: Shared, router: Router, number: int, identity: Identity, context: "Context"
    ) -> None:
        user = router.user(identity.user_id, shared.desk.log.partition_of(identity.user_id))
        super().__init__(shared, user, number, identity)
        user.sessions.append(self)
        self._context: Context | None = context
        self.task: asyncio.Task[None] | None = None
        """Writes; None while there is nothing to write."""
        self.done: asyncio.Future[None] | None = None
        """Where the handler waits for the end; None while it reads."""
        self.room: asyncio.Future[None] | None = None
        """Where the handler waits until outcomes were taken."""
        self.is_over = False
        """Whether the call is to end now: all was written, or is not waited for."""

    @property
    def gone(self) -> bool:
        """Whether gRPC holds the call no more."""
        return self._context is None

    def let_go(self) -> None:
        """The call has ended. The timer may hold this for minutes yet, and the call takes ten times the memory."""
        self._context = None

    async def write(self, on_written: "partial[None] | Any") -> None:
        """Write until there is nothing left, and end the call if the session has ended."""
        while (context := self._context) is not None and (frame := self.take_frame()):
            await context.write(frame)
            self.written()
            if self.room is not None and self.reads_on:
                self._release(self.room)
            on_written()
        if self.ending is not None:
            await self.end_call(self.ending)

    async def end_call(self, ending: Ending) -> None:
        """End the call, from the handler if it waits, else beside its read, which then raises."""
        self.is_over = True
        if self.done is not None:
            self._release(self.done)
        elif self.room is not None:
            self._release(self.room)
        elif self._context is not None and ending.status is not grpc.StatusCode.OK:
            await abort(self._context, ending)

    @staticmethod
    def _release(future: "asyncio.Future[None]") -> None:
        if not future.done():
            future.set_result(None)


async def abort(context: "Context", ending: Ending) -> NoReturn:
    """End a call with this status. Raises what gRPC raises for that."""
    assert ending.refused is not None, "a call that ends well is not aborted"
    await grpc_status.abort(context, ending.refused, ending.status)


def _reason(ending: Ending | None) -> str:
    """Why a stream ended, in a word: `gone` where its client just went."""
    if ending is None:
        return "gone"
    return "DONE" if ending.refused is None else reason_name(ending.refused.reason)


class Streams:
    """The streams of a server."""

    def __init__(self, *, shared: Shared, router: Router, history: EventHistory) -> None:
        self._shared = shared
        self._desk = shared.desk
        self._agenda = shared.agenda
        self._router = router
        self._history = history
        self._at_a_time = asyncio.Semaphore(shared.desk.settings.lookups_under_way)
        self._ends = LogEnds(shared.desk.log)
        self._timer: CoarseTimer[Session] = CoarseTimer(shared.desk.now_s())
        self._numbers = itertools.count(1)
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticker: asyncio.Task[None] | None = None
        self.count = 0
        """Streams that gRPC still holds."""
        self._given_up: set[Stream] = set()
        """Ended, but their clients take nothing: gRPC tells them the end only after what it has taken, when they read on."""
        self.refusing = False
        """Whether the server is leaving."""
        self._ticked_s = shared.desk.now_s()
        self._doubt_until_s = 0.0

    @property
    def was_paused(self) -> bool:
        """Whether this process stood still so long that what it reads now may have been given up by its sender.

        A command that is appended later than its client retries is a second one (R3): so such commands are not taken.
        """
        now_s = self._desk.now_s()
        return now_s - self._ticked_s > ACCEPT_DEADLINE_S or now_s < self._doubt_until_s

    @property
    def waited_for(self) -> int:
        """Streams that are yet to end, or will soon have: without those whose clients take nothing."""
        return self.count - len(self._given_up)

    def start(self) -> None:
        """Start the timer."""
        self._ticker = asyncio.get_running_loop().create_task(self._tick())

    async def close(self) -> None:
        """Stop everything; streams must be gone."""
        tasks = [task for task in (self._ticker, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._ends.close()

    def open(self, identity: Identity, context: "Context") -> "Stream | Ending":
        """A new stream of this user, or why there is none."""
        settings = self._desk.settings
        if self.refusing:
            return endings.LEAVING
        if self.was_paused:
            return endings.PAUSED
        if self.count >= settings.max_streams:
            return endings.SERVER_FULL
        if len(self._router.sessions_of(identity.user_id)) >= settings.max_streams_per_user:
            return endings.too_many_streams(settings.max_streams_per_user)
        self.count += 1
        self._agenda.figures.opened += 1
        stream = Stream(self._shared, self._router, next(self._numbers), identity, context)
        self.soon()
        return stream

    def remove(self, stream: "Stream") -> None:
        """The call is over, for whatever reason."""
        self.count -= 1
        self._given_up.discard(stream)
        self._agenda.figures.ended[_reason(stream.ending)] += 1
        stream.let_go()
        stream.close()
        self._router.remove(stream)
        self.soon()

    def all(self) -> list[Session]:
        """Every stream."""
        return cast("list[Session]", self._router.sessions())

    def soon(self) -> None:
        """Do what is on the agenda, if anything is, at the end of this turn of the event loop."""
        if not self._scheduled and self._agenda:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def flush(self) -> None:
        """Do it now."""
        self._turn()

    def _turn(self) -> None:
        self._scheduled = False
        agenda = self._agenda
        for link, messages in self._router.messages().items():
            link.send(messages)
        if agenda.seek_end:
            asked, agenda.seek_end = agenda.seek_end, []
            for session in asked:
                self._ends.ask(session.user.view.partition, partial(self._end_found, session))
        if agenda.page:
            paging, agenda.page = agenda.page, []
            for session in paging:
                self._spawn(self._read_page(session))
        if agenda.write:
            self._start_writing()
        if agenda.force:
            forced, agenda.force = agenda.force, []
            for session in forced:
                self._spawn(self._force(cast(Stream, session)))
        if agenda.wake:
            waking, agenda.wake = agenda.wake, []
            for session in cast("list[Session]", waking):
                self._timer.add(session.wake_s, session)

    def _start_writing(self) -> None:
        agenda = self._agenda
        streams, agenda.write = cast("list[Stream]", agenda.write), []
        loop = asyncio.get_running_loop()
        for stream in streams:
            if stream.task is None and not stream.gone:
                stream.writing_starts()
                stream.task = loop.create_task(self._write(stream))

    async def _write(self, stream: "Stream") -> None:
        try:
            await stream.write(self.soon)
        except Exception as error:  # the call is over, or `end_call` has ended it: its handler knows
            if stream.state is not CLOSED:
                _log.debug("stream lost", session=stream.session_id, error=repr(error))
        finally:
            stream.task = None

    async def _force(self, stream: "Stream") -> None:
        if stream.gone:
            return
        self._given_up.add(stream)
        with contextlib.suppress(grpc.aio.AbortError):
            await stream.end_call(stream.ending or endings.SLOW_CONSUMER)

    def _end_found(self, session: Subscription, end: int | None) -> None:
        session.log_end(end, self._desk.now_s())
        self.soon()

    async def _read_page(self, session: Subscription) -> None:
        page: EventsPage | None = None
        began_s = self._desk.now_s()
        async with self._at_a_time:
            if session.state is not PAGING:
                return
            user = session.user
            max_bytes = self._desk.settings.event_buffer_bytes // 2
            try:
                page = await self._history.events_after(
                    user.user_id, user.view.partition, session.position, max_bytes
                )
            except HistoryUnavailable:
                pass
            except Exception:
                _log.exception("history failed", session=session.number)
        if page is not None:
            self._agenda.figures.pages.add(self._desk.now_s() - began_s)
            for event in page.events:
                self._desk.clock.observe(event.time_us)
            self._desk.clock.observe(page.through_time_us)
        session.page_read(page, self._desk.now_s())
        self.soon()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now_s = self._desk.now_s()
            if self.was_paused:
                self._after_pause(now_s)
            self._ticked_s = now_s
            for session in self._timer.take_due(now_s):
                if session.wake_s <= now_s:
                    session.on_time()
            self._desk.expire()
            self.soon()

    def _after_pause(self, now_s: float) -> None:
        if now_s < self._doubt_until_s:
            return
        _log.warning("this process stood still: streams end", seconds=round(now_s - self._ticked_s, 1))
        self._doubt_until_s = now_s + _DOUBT_S
        for session in self.all():
            session.end(endings.PAUSED)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
