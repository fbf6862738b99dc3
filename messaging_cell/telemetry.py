"""What a process tells of itself, as its settings say. OpenTelemetry is loaded only where it is asked for."""

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING

from messaging_cell.settings import Settings, SettingsRefused
from telemetry.tracing import Tracer

if TYPE_CHECKING:
    from telemetry.opentelemetry_spans import OpenTelemetryTracer

_WHOLE_CELL = "messaging-cell"


class Telemetry:
    """Of one process; `stop` it last."""

    def __init__(self, settings: Settings, service: str, instance: str) -> None:
        """Of the service of that name, empty for all of them. Raises SettingsRefused."""
        self._resource = {
            "service.namespace": settings.cell_id,
            "service.name": service or _WHOLE_CELL,
            "service.instance.id": instance,
            "service.version": version("messaging-cell"),
        }
        self._tracer = self._spans(settings) if settings.otlp_endpoint else None

    @property
    def tracer(self) -> Tracer | None:
        """Makes spans; None where nobody wants them."""
        return self._tracer

    async def stop(self) -> None:
        """Send what is left, if it is taken soon."""
        if self._tracer is not None:
            await asyncio.to_thread(self._tracer.stop)

    def _spans(self, settings: Settings) -> "OpenTelemetryTracer":
        try:
            from telemetry.opentelemetry_spans import OpenTelemetryTracer
        except ImportError as error:
            raise not_installed("otlp_endpoint", error) from error
        from telemetry.sampling import Sampler

        sampler = Sampler(settings.trace_ratio, settings.traces_per_second)
        return OpenTelemetryTracer(settings.otlp_endpoint, self._resource, sampler)


def not_installed(setting: str, error: ImportError) -> SettingsRefused:
    """What is said where the vendor of a setting is missing."""
    return SettingsRefused(
        [f"{setting}: {error.name} is not installed. Install messaging-cell with the extra `telemetry`."]
    )
