"""The topics of a log: what they must be like, making them, and finding out whether they are so."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from kafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest

from event_log.kafka_brokers import Brokers, TopicState
from event_log.kafka_connection import error_name
from event_log.kafka_settings import KafkaLogSettings
from event_log.port import MAX_METADATA_CHARS, MAX_RECORD_BYTES, LogError, LogUnavailable

_COPIES = 3
_IN_SYNC = 2
_MESSAGE_BYTES = MAX_RECORD_BYTES + 1_024
"""A record with its batch around it."""
_TOPIC, _BROKER = 2, 4
_ALREADY_EXISTS = 36
_AUTHORIZATION_FAILED = (29, 31)
Configs = Mapping[str, str | None]


class LogUnfit(LogError):
    """The topic or the brokers are not set as the log needs it: one line for each fault."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


def topic_configs(settings: KafkaLogSettings, retention_s: float) -> dict[str, str]:
    """What the log's topic is made with."""
    return {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "unclean.leader.election.enable": "false",
        "min.insync.replicas": "1" if settings.development else str(_IN_SYNC),
        "retention.ms": str(int(retention_s * 1_000)),
        "retention.bytes": "-1",
        "max.message.bytes": str(_MESSAGE_BYTES),
        "compression.type": "producer",
    }


class Topic(NamedTuple):
    """A topic as it is made."""

    name: str
    partitions: int
    configs: dict[str, str]


def topics(settings: KafkaLogSettings, retention_s: float) -> tuple[Topic, Topic]:
    """Those of a log: its records, and its dead letters."""
    letters = {
        "cleanup.policy": "compact",
        "min.insync.replicas": "1" if settings.development else str(_IN_SYNC),
        "max.message.bytes": str(_MESSAGE_BYTES + 8_192),
    }
    return (
        Topic(settings.topic, settings.partitions, topic_configs(settings, retention_s)),
        Topic(settings.dead_letter_topic, 1, letters),
    )


async def create_topics(brokers: Brokers, copies: int, retention_s: float) -> None:
    """Make the topics that are not there yet. Raises LogError where the brokers refuse, LogUnavailable."""
    settings = brokers.settings
    topic = CreateTopicsRequest.CreatableTopic
    request = CreateTopicsRequest(
        topics=[
            topic(
                name=name,
                num_partitions=partitions,
                replication_factor=copies,
                assignments=[],
                configs=[topic.CreatableTopicConfig(name=key, value=value) for key, value in configs.items()],
            )
            for name, partitions, configs in topics(settings, retention_s)
        ],
        timeout_ms=int(settings.open_timeout_s * 1_000),
        validate_only=False,
        max_version=5,
    )
    answer = await brokers.ask_controller(request)
    for made in answer.topics:
        if made.error_code not in (0, _ALREADY_EXISTS):
            raise LogError(
                f"topic {made.name!r} cannot be made: {made.error_message or error_name(made.error_code)}"
            )
    names = (settings.topic, settings.dead_letter_topic)
    await brokers.insist(
        "the topics were made", lambda: brokers.wait_for_topics(names), settings.open_timeout_s
    )


async def check_topics(brokers: Brokers) -> None:
    """Find out whether topic and brokers are as the log needs it. Raises LogUnfit, and as `Brokers.refresh` does."""
    await brokers.refresh()
    settings, state = brokers.settings, brokers.topic
    assert state is not None
    faults = list(state_faults(settings, state))
    node = next(iter(brokers.nodes), None)
    if node is None:
        raise LogUnavailable("no broker is alive")
    topic, broker, letters = await _describe(
        brokers, node, [(_TOPIC, settings.topic), (_BROKER, str(node)), (_TOPIC, settings.dead_letter_topic)]
    )
    faults += [f"topic {settings.topic!r}: {fault}" for fault in topic_faults(settings, topic)]
    faults += [f"broker {node}: {fault}" for fault in broker_faults(settings, broker)]
    faults += [f"topic {settings.dead_letter_topic!r}: {fault}" for fault in letter_faults(letters)]
    if faults:
        raise LogUnfit(faults)


def state_faults(settings: KafkaLogSettings, state: TopicState) -> Iterator[str]:
    """What is wrong with a topic's partitions and copies."""
    if not state.topic_id.int:
        yield f"topic {settings.topic!r} has no id: the brokers must be of Kafka 3.1 or newer"
    if len(state.replicas) != settings.partitions:
        yield (
            f"topic {settings.topic!r} has {len(state.replicas)} partitions, but partitions is set to"
            f" {settings.partitions}. They cannot be changed once users have records there."
        )
    copies = min(state.replicas.values(), default=0)
    if copies < _COPIES and not settings.development:
        yield f"topic {settings.topic!r}: replication factor is {copies}, must be at least {_COPIES}{_UNLESS}"


_UNLESS = ", unless few_copies is set"


def topic_faults(settings: KafkaLogSettings, configs: Configs) -> Iterator[str]:
    """What is wrong with the configuration of the log's topic."""
    exact = {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "unclean.leader.election.enable": "false",
        "retention.bytes": "-1",
    }
    for name, value in exact.items():
        if configs.get(name) != value:
            yield f"{name} is {configs.get(name)}, must be {value}"
    if not settings.development and (_number(configs, "min.insync.replicas") or 0) < _IN_SYNC:
        yield f"min.insync.replicas is {configs.get('min.insync.replicas')}, must be at least {_IN_SYNC}{_UNLESS}"
    if (_number(configs, "max.message.bytes") or 0) < _MESSAGE_BYTES:
        yield f"max.message.bytes is {configs.get('max.message.bytes')}, must be at least {_MESSAGE_BYTES}"
    least_ms = int(settings.least_retention_s * 1_000)
    if 0 <= (_number(configs, "retention.ms") or 0) < least_ms:
        yield f"retention.ms is {configs.get('retention.ms')}, must be at least {least_ms} or -1"
    if configs.get("compression.type") not in ("producer", "uncompressed"):
        yield f"compression.type is {configs.get('compression.type')}, must be producer or uncompressed"


def broker_faults(settings: KafkaLogSettings, configs: Configs) -> Iterator[str]:
    """What is wrong with the configuration of a broker; what it does not tell is let pass."""
    copies = _number(configs, "offsets.topic.replication.factor")
    if copies is not None and copies < _COPIES and not settings.development:
        yield f"offsets.topic.replication.factor is {copies}, must be at least {_COPIES}{_UNLESS}"
    minutes = _number(configs, "offsets.retention.minutes")
    if minutes is not None and minutes * 60 <= settings.least_retention_s:
        yield (
            f"offsets.retention.minutes is {minutes}, must be above what records are kept at least,"
            f" {settings.least_retention_s / 60:g}"
        )
    chars = _number(configs, "offset.metadata.max.bytes")
    if chars is not None and chars < MAX_METADATA_CHARS:
        yield f"offset.metadata.max.bytes is {chars}, must be at least {MAX_METADATA_CHARS}"
    session_ms = settings.session_timeout_s * 1_000
    least_ms = _number(configs, "group.min.session.timeout.ms")
    if least_ms is not None and session_ms < least_ms:
        yield f"group.min.session.timeout.ms is {least_ms}, must be at most session_timeout_s, {session_ms:g}"
    most_ms = _number(configs, "group.max.session.timeout.ms")
    if most_ms is not None and session_ms > most_ms:
        yield f"group.max.session.timeout.ms is {most_ms}, must be at least session_timeout_s, {session_ms:g}"


def letter_faults(configs: Configs) -> Iterator[str]:
    """What is wrong with the configuration of the topic of dead letters."""
    if configs.get("cleanup.policy") != "compact":
        yield f"cleanup.policy is {configs.get('cleanup.policy')}, must be compact"


def _number(configs: Configs, name: str) -> int | None:
    try:
        return int(configs.get(name) or "")
    except ValueError:
        return None


async def _describe(brokers: Brokers, node: int, resources: list[tuple[int, str]]) -> list[Configs]:
    """The configurations of these resources, as a node tells them."""
    resource = DescribeConfigsRequest.DescribeConfigsResource
    request = DescribeConfigsRequest(
        resources=[
            resource(resource_type=kind, resource_name=name, configuration_keys=None)
            for kind, name in resources
        ],
        include_synonyms=False,
        include_documentation=False,
        max_version=3,
    )
    answer = await brokers.ask(node, request)
    by_resource: dict[tuple[int, str], Any] = {
        (found.resource_type, found.resource_name): found for found in answer.results
    }
    described: list[Configs] = []
    for kind, name in resources:
        found = by_resource[kind, name]
        if found.error_code in _AUTHORIZATION_FAILED:
            raise LogUnfit([f"the settings of {name!r} cannot be read: it takes DESCRIBE_CONFIGS on it"])
        if found.error_code == 3:
            raise LogUnfit([f"there is no topic {name!r}"])
        if found.error_code:
            raise LogUnavailable(f"the settings of {name!r} cannot be read: {error_name(found.error_code)}")
        described.append({config.name: config.value for config in found.configs})
    return described
