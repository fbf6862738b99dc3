"""Our own client: the calls that ghz makes, with grpcio, each at its time whether those before it have ended or not."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Sequence

import grpc
from google.protobuf.json_format import ParseDict

from cell.messaging.v1 import messaging_pb2 as messaging
from cell.messaging.v1 import messaging_pb2_grpc as services
from check.ghz.load import Load
from check.ghz.report import Report
from check.histogram import Histogram

_OPTIONS = (("grpc.use_local_subchannel_pool", 1),)  # each channel its own connection
_TIMEOUT_S = 30.0


async def run(load: Load, tokens: Sequence[str], address: str) -> Report:
    """Make all calls; how they went. One that a stream's server refused a command of ended with that reason."""
    channels = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(load.connections)]
    try:
        for channel in channels:
            await channel.channel_ready()
        return await _Calls(load, tokens, channels).run()
    finally:
        for channel in channels:
            await channel.close()


class _Calls:
    """All calls of a load."""

    def __init__(self, load: Load, tokens: Sequence[str], channels: Sequence[grpc.aio.Channel]) -> None:
        self._load = load
        self._metadata = [(("authorization", f"Bearer {token}"),) for token in tokens]
        self._stubs = [services.MessagingServiceStub(channel) for channel in channels]
        self._times = Histogram()
        self._sum_us = 0
        self._codes: Counter[str] = Counter()

    async def run(self) -> Report:
        """Begin each call when it is due."""
        load, start_s = self._load, time.monotonic()
        async with asyncio.TaskGroup() as calls:
            for number in range(load.calls):
                await asyncio.sleep(start_s + number / load.calls_per_s - time.monotonic())
                calls.create_task(self._call(number))
        percent_ms = {percent: self._times.percentile(percent) / 1e3 for percent in (50, 95, 99)}
        return Report(
            client="our own",
            calls=len(self._times),
            seconds=time.monotonic() - start_s,
            average_ms=self._sum_us / max(len(self._times), 1) / 1e3,
            p50_ms=percent_ms[50],
            p95_ms=percent_ms[95],
            p99_ms=percent_ms[99],
            codes=self._codes,
        )

    async def _call(self, number: int) -> None:
        make = self._stream if self._load.is_stream else self._unary
        began_us = time.monotonic_ns() // 1_000
        try:
            code = await make(number)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        took_us = time.monotonic_ns() // 1_000 - began_us
        self._codes[code] += 1
        self._times.add(took_us)
        self._sum_us += took_us

    async def _unary(self, number: int) -> str:
        (request,) = self._load.requests(number, str(uuid.uuid4()))
        message = ParseDict(request, messaging.SendMessageRequest())
        stub = self._stubs[number % len(self._stubs)]
        await stub.SendMessage(message, metadata=self._metadata_of(number), timeout=_TIMEOUT_S)
        return "OK"

    async def _stream(self, number: int) -> str:
        stub = self._stubs[number % len(self._stubs)]
        stream = stub.Connect(metadata=self._metadata_of(number), timeout=_TIMEOUT_S)
        sending = asyncio.create_task(self._send(stream, number))
        rejected = ""
        try:
            async for response in stream:
                for update in response.updates:
                    if update.HasField("rejected"):
                        rejected = messaging.RejectedReason.Name(update.rejected.reason)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return rejected or "OK"

    async def _send(
        self,
        stream: "grpc.aio.StreamStreamCall[messaging.ConnectRequest, messaging.ConnectResponse]",
        number: int,
    ) -> None:
        for at, request in enumerate(self._load.requests(number, str(uuid.uuid4()))):
            await asyncio.sleep(self._load.interval_s if at else 0)
            await stream.write(ParseDict(request, messaging.ConnectRequest()))
        await stream.done_writing()

    def _metadata_of(self, number: int) -> tuple[tuple[str, str], ...]:
        return self._metadata[number % len(self._metadata)]
