"""Traces, metrics, dashboards and alerts beside the containers: held to what the cell tells."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_cell import process_checks
from telemetry.catalogue import METRICS
from telemetry.metrics import Kind, Metric
from telemetry.prometheus import prometheus_name
from tests.deploy.compose_file import read
from tests.deploy.test_compose import DEPLOY, LONG_RUNNING, ONE, merged, settings_of

TOLD = read(DEPLOY / "compose.telemetry.yaml")
SERVICES: dict[str, Any] = merged(ONE["services"], TOLD["services"])
FOLDER = DEPLOY / "telemetry"
BOARD = json.loads((FOLDER / "cell.json").read_text("utf-8"))
ALERTS = [rule for group in read(FOLDER / "alerts.yaml")["groups"] for rule in group["rules"]]
COMMANDS = {field.name for field in messaging.Command.DESCRIPTOR.fields}
LABELS = {"job", "instance", "le"}
"""Of every series; the last of histograms."""
_WORDS = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_PROMQL = {
    *(
        "sum",
        "max",
        "min",
        "by",
        "rate",
        "increase",
        "histogram_quantile",
        "absent",
        "or",
        "and",
        "label_values",
    ),
}


def series() -> Mapping[str, Metric]:
    """Every name that Prometheus has, with its metric."""
    found: dict[str, Metric] = {}
    for metric in METRICS:
        name = prometheus_name(metric)
        ends = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        found |= {name + end: metric for end in ends}
    return found


def queries() -> Iterator[str]:
    """Everything that is asked of Prometheus."""
    yield from (rule["expr"] for rule in ALERTS)
    for panel in BOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()) if "expr" in target)
    yield from (variable["definition"] for variable in BOARD["templating"]["list"])


def words(query: str) -> set[str]:
    """The names in a query: of series, labels and functions."""
    bare = re.sub(r"\[[^]]*\]", "", _QUOTED.sub("", query))
    return set(_WORDS.findall(bare))


@pytest.mark.parametrize("query", sorted(set(queries())))
def test_what_is_asked_for_is_told(query: str) -> None:
    """Every series of the dashboard and of the alerts is one of the catalogue, by a label that it has."""
    known = series()
    asked = words(query)
    metrics = {known[word] for word in asked & known.keys()}
    labels = {label.replace(".", "_") for metric in metrics for label in metric.labels}
    assert metrics
    assert asked - known.keys() - _PROMQL <= labels | LABELS
    assert query.count("(") == query.count(")")
    assert query.count("{") == query.count("}")


def test_what_is_told_is_shown() -> None:
    """No metric of the catalogue is left out of the dashboard."""
    shown = {known.name for word in set().union(*map(words, queries())) if (known := series().get(word))}
    assert shown == {metric.name for metric in METRICS}


def test_what_is_not_told_is_noticed() -> None:
    """A name that is not in the catalogue, or a label of another metric, would be found."""
    assert "cell_messages_total" not in series()
    assert words("sum by (cell_kind) (rate(cell_streams{job='cell_x'}[5m]))") == {
        *("sum", "by", "cell_kind", "rate", "cell_streams", "job")
    }


def test_alerts_say_what_to_do() -> None:
    """Each has a name of its own, how soon it wants a look, and two sentences for whoever does."""
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_panels_are_where_they_can_be_seen() -> None:
    """Each has a number and a place of its own, and asks a source that is there."""
    numbers = [panel["id"] for panel in BOARD["panels"]]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in BOARD["panels"]]
    assert len(set(numbers)) == len(set(places)) == len(BOARD["panels"])
    sources = {source["uid"]: source for source in read(FOLDER / "datasources.yaml")["datasources"]}
    asked = {panel["datasource"]["uid"] for panel in BOARD["panels"] if "datasource" in panel}
    assert asked <= sources.keys()
    traced = [
        target for panel in BOARD["panels"] for target in panel.get("targets", ()) if "service" in target
    ]
    assert traced
    for target in traced:
        assert (target["service"] in SERVICES, target["datasource"]["uid"]) == (True, "jaeger")
        assert target["operation"].removeprefix("accept ") in COMMANDS
    for source in sources.values():
        assert source["url"].removeprefix("http://").partition(":")[0] in SERVICES


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_the_cell_tells_its_collector(name: str) -> None:
    """Every service starts with these settings, and knows the collector by the name and port that it has."""
    settings = settings_of(SERVICES[name])
    process_checks.check(settings, has_clients=name == "messaging-server", is_whole=False)
    host, _, port = settings.otlp_endpoint.removeprefix("http://").partition(":")
    assert host in TOLD["services"]
    receiver = read(FOLDER / "collector.yaml")["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
    assert receiver.endswith(f":{port}")


def test_the_collector_passes_on_what_it_takes() -> None:
    """Its pipelines are of parts that it has, and lead to services that are there."""
    collector = read(FOLDER / "collector.yaml")
    for pipeline in collector["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= collector[kind].keys()
    for exporter in collector["exporters"].values():
        host = exporter["endpoint"].removeprefix("http://").partition(":")[0]
        assert host in TOLD["services"]
    assert "--web.enable-otlp-receiver" in TOLD["services"]["prometheus"]["command"]


def test_what_is_mounted_is_there() -> None:
    """Files are in the folder, where the programs look for them; volumes are named."""
    for service in TOLD["services"].values():
        for mount in service.get("volumes", ()):
            source, target, *_ = mount.split(":")
            assert (DEPLOY / source).is_file() if source.startswith("./") else source in TOLD["volumes"]
            assert target.startswith("/")
    (rules,) = read(FOLDER / "prometheus.yaml")["rule_files"]
    assert any(f":{rules}:ro" in mount for mount in TOLD["services"]["prometheus"]["volumes"])
    grafana = TOLD["services"]["grafana"]
    assert any(
        f":{grafana['environment']['GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH']}:ro" in m
        for m in grafana["volumes"]
    )


def test_only_this_machine_looks_at_them() -> None:
    """What has no log-in of its own is published on the loopback address."""
    for name, service in TOLD["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
