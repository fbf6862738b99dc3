"""Settings of what a process tells of itself to those who watch it."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from messaging_cell.engine_settings import EngineSettings
from messaging_cell.setting_kinds import ADDRESS, COLLECTOR, Address, Setting, seconds, share, whole

_Telemetry = partial(Setting, group="Telemetry")


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings(EngineSettings):
    """Nothing is told, and nothing of OpenTelemetry is loaded, unless these say so."""

    otlp_endpoint: Annotated[
        str,
        _Telemetry("Where an OpenTelemetry collector takes OTLP over gRPC.", COLLECTOR, default_text="none"),
    ] = ""
    trace_ratio: Annotated[
        float,
        _Telemetry(
            "Share of the commands and calls that are traced, of those whose client says nothing of a trace.",
            share(),
        ),
    ] = 0.01
    traces_per_second: Annotated[
        int,
        _Telemetry(
            "Most that one process begins to trace a second, at its clients' wish or by chance.",
            whole(1, 100_000),
        ),
    ] = 100
    metrics_interval_s: Annotated[
        float,
        _Telemetry(
            "Time between two times that metrics are sent to the collector, in seconds.", seconds(1, 3_600)
        ),
    ] = 15.0
    metrics_listen: Annotated[
        Address | None,
        _Telemetry(
            "Where Prometheus fetches metrics over HTTP. Workers take as many ports from this one on.",
            ADDRESS,
            default_text="none",
        ),
    ] = None
