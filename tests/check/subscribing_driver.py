"""The Python SDK's driver as a client that has no Connect stream: `Subscribe` for updates, `Execute` for commands."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from cell.messaging.v1 import messaging_pb2 as messaging
from cell.messaging.v1 import messaging_pb2_grpc
from check.conformance import python_driver

_EXECUTE_S = 30.0


class Call:
    """What the SDK takes for a Connect call."""

    def __init__(self, stub: Any, metadata: Any) -> None:
        self._stub = stub
        self._metadata = metadata
        self._frames: asyncio.Queue[Any] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_done: list[Callable[[Any], None]] = []
        self._subscription: Any = None

    async def write(self, frame: messaging.ConnectRequest) -> None:
        if frame.commands[0].HasField("hello"):
            request = messaging.SubscribeRequest(hello=frame.commands[0].hello)
            self._subscription = self._stub.Subscribe(request, metadata=self._metadata)
            for on_done in self._on_done:
                self._subscription.add_done_callback(on_done)
            self._start(self._take_updates())
        else:
            self._start(self._execute(messaging.ExecuteRequest(commands=frame.commands)))

    async def read(self) -> Any:
        frame = await self._frames.get()
        if isinstance(frame, Exception):
            raise frame
        return frame

    def add_done_callback(self, on_done: Callable[[Any], None]) -> None:
        self._on_done.append(on_done)

    def done(self) -> bool:
        return self._subscription is not None and bool(self._subscription.done())

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._subscription is not None:
            self._subscription.cancel()
        self._frames.put_nowait(grpc.aio.UsageError("cancelled"))

    async def code(self) -> grpc.StatusCode:
        code: grpc.StatusCode = await self._subscription.code()
        return code

    async def details(self) -> str:
        return str(await self._subscription.details())

    async def _take_updates(self) -> None:
        try:
            while (frame := await self._subscription.read()) is not grpc.aio.EOF:
                self._frames.put_nowait(frame)
            self._frames.put_nowait(grpc.aio.EOF)
        except grpc.aio.AioRpcError as error:
            self._frames.put_nowait(error)

    async def _execute(self, request: messaging.ExecuteRequest) -> None:
        try:
            answer = await self._stub.Execute(request, metadata=self._metadata, timeout=_EXECUTE_S)
        except grpc.aio.AioRpcError as error:  # the outcomes are unknown: as with a broken stream
            self._frames.put_nowait(error)
            return
        updates = []
        for outcome in answer.outcomes:
            kind = outcome.WhichOneof("outcome")
            updates.append(messaging.Update(**{kind: getattr(outcome, kind)}))
        self._frames.put_nowait(messaging.ConnectResponse(updates=updates))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Stub:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = _REAL(channel)

    def Connect(self, metadata: Any) -> Call:
        return Call(self._stub, metadata)


_REAL = messaging_pb2_grpc.MessagingServiceStub

if __name__ == "__main__":
    messaging_pb2_grpc.MessagingServiceStub = Stub  # type: ignore[assignment,misc]
    asyncio.run(python_driver.main())
