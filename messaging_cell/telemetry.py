"""What a process tells of itself, as its settings say. The vendors are loaded only where they are asked for."""

import asyncio
import logging
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from messaging_cell.grpc_port import check_free
from messaging_cell.setting_kinds import Address
from messaging_cell.settings import Settings, SettingsRefused
from telemetry import catalogue
from telemetry.metrics import Figure, Figures
from telemetry.process import ProcessFigures
from telemetry.sampling import Sampler
from telemetry.tracing import Tracer

if TYPE_CHECKING:
    from telemetry.opentelemetry_metrics import OpenTelemetryMetrics
    from telemetry.opentelemetry_spans import OpenTelemetryTracer
    from telemetry.prometheus import PrometheusPort

_log = logging.getLogger(__name__)

_WHOLE_CELL = "messaging-cell"
_ASK_S = 5.0
"""An event loop that does not answer for so long has other troubles."""


class Telemetry:
    """Of one process: `start` it when everything that tells figures was added, `stop` it last."""

    def __init__(self, settings: Settings, service: str, instance: str) -> None:
        """Of the service of that name, empty for all of them. Raises SettingsRefused."""
        self.figures = Figures()
        """Where sources are added."""
        self.metrics_address: Address | None = None
        """Where figures are fetched, once started; None where they are not."""
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._resource = {
            "service.namespace": settings.cell_id,
            "service.name": service or _WHOLE_CELL,
            "service.instance.id": instance,
            "service.version": version("messaging-cell"),
        }
        self._tasks: list[asyncio.Task[None]] = []
        self._sending = ThreadPoolExecutor(1, "metrics")
        self._tracer: OpenTelemetryTracer | None = None
        self._metrics: OpenTelemetryMetrics | None = None
        self._port: PrometheusPort | None = None
        if settings.otlp_endpoint:
            self._dial(settings)

    @property
    def tracer(self) -> Tracer | None:
        """Makes spans; None where nobody wants them."""
        return self._tracer

    async def start(self) -> None:
        """Tell figures from now on. Raises SettingsRefused, PortTaken, OSError."""
        if self._settings.metrics_listen is not None:
            await self._listen(self._settings.metrics_listen)
        if self._metrics is not None:
            self._run(self._send_always(self._metrics))
        if self._metrics is not None or self._port is not None:
            process = ProcessFigures()
            self.figures.add(process)
            self._run(process.watch_loop())

    async def stop(self) -> None:
        """Send what is left, if it is taken soon."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._port is not None:
            await asyncio.to_thread(self._port.stop)
        if self._metrics is not None:
            self._metrics.stop()
        if self._tracer is not None:
            await asyncio.to_thread(self._tracer.stop)
        await asyncio.to_thread(self._sending.shutdown)

    def _dial(self, settings: Settings) -> None:
        try:
            from telemetry.opentelemetry_metrics import OpenTelemetryMetrics
            from telemetry.opentelemetry_spans import OpenTelemetryTracer
        except ImportError as error:
            raise _not_installed("otlp_endpoint", error) from error
        sampler = Sampler(settings.trace_ratio, settings.traces_per_second)
        self._tracer = OpenTelemetryTracer(settings.otlp_endpoint, self._resource, sampler)
        self._metrics = OpenTelemetryMetrics(settings.otlp_endpoint, self._resource)
        self.figures.add(lambda: (Figure(catalogue.TRACES_REFUSED, sampler.refused),))

    async def _listen(self, address: Address) -> None:
        try:
            from telemetry.prometheus import PrometheusPort
        except ImportError as error:
            raise _not_installed("metrics_listen", error) from error
        check_free(address)
        self._port = PrometheusPort(address.host, address.port, self._resource, self._from_the_loop)
        self.metrics_address = address._replace(port=self._port.port)

    def _from_the_loop(self) -> list[Figure]:
        """The figures, for another thread. Raises TimeoutError."""
        told: Future[list[Figure]] = Future()

        def tell() -> None:
            try:
                told.set_result(self.figures.now())
            except Exception as error:
                told.set_exception(error)

        self._loop.call_soon_threadsafe(tell)
        return told.result(_ASK_S)

    async def _send_always(self, metrics: "OpenTelemetryMetrics") -> None:
        """Once at a time: while the collector is slow there are fewer, and nothing piles up."""
        while True:
            await asyncio.sleep(self._settings.metrics_interval_s)
            try:
                await self._loop.run_in_executor(self._sending, metrics.send, self.figures.now())
            except Exception:  # or this process would tell no figure ever again
                _log.exception("figures cannot be sent")

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))


def _not_installed(setting: str, error: ImportError) -> SettingsRefused:
    return SettingsRefused(
        [f"{setting}: {error.name} is not installed. Install messaging-cell with the extra `telemetry`."]
    )
