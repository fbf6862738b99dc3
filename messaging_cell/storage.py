"""The log and the history that the settings name.

The vendors of an engine are imported only where it is asked for, and first by what says which extra brings them: `_kafka`
and `_cassandra`.
"""

import ssl
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from event_log.embedded import EmbeddedLog, EmbeddedLogSettings
from event_log.port import EventLog, LogError
from history_service.embedded import EmbeddedStore
from history_service.port import HistoryStore, StoreError, StoreUnavailable
from messaging_cell.settings import Settings, SettingsRefused
from messaging_core.sqlite import FolderInUse, NotDurable

if TYPE_CHECKING:
    from event_log.kafka import KafkaLogSettings
    from history_service.cassandra import CassandraSettings

_KAFKA_FILES = ("kafka_ca_file", "kafka_cert_file", "kafka_key_file")
_CASSANDRA_FILES = ("cassandra_ca_file", "cassandra_cert_file", "cassandra_key_file")


class StorageRefused(Exception):
    """An engine cannot be used. The text names the setting and says why, in a line for each fault."""


async def open_log(settings: Settings) -> EventLog:
    """The log. Raises StorageRefused, SettingsRefused."""
    with _told_by("data_folder" if settings.log.is_embedded else "log"):
        if settings.log.is_embedded:
            log_settings = EmbeddedLogSettings(retention_s=settings.retention_s)
            return await EmbeddedLog.open(settings.data_folder / "log", settings.partitions, log_settings)
        kafka_settings = _kafka(settings)
        from event_log.kafka import KafkaLog

        return await KafkaLog.open(kafka_settings)


async def open_store(settings: Settings) -> HistoryStore:
    """The store of history. Raises StorageRefused, SettingsRefused."""
    with _told_by("data_folder" if settings.history.is_embedded else "history"):
        if settings.history.is_embedded:
            return await EmbeddedStore.open(settings.data_folder / "history")
        cassandra_settings = _cassandra(settings)
        from history_service.cassandra import CassandraStore

        return await CassandraStore.open(cassandra_settings)


async def migrate(settings: Settings) -> list[str]:
    """Make the topics, keyspace and tables that are missing; tells what it has seen to.

    Raises StorageRefused, SettingsRefused.
    """
    seen_to = []
    if not settings.log.is_embedded:
        with _told_by("log"):
            kafka_settings = _kafka(settings)
            from event_log.kafka import make_topics

            await make_topics(kafka_settings, settings.copies, settings.retention_s)
        seen_to.append(f"topic {settings.log.name} with {settings.partitions} partitions")
    if not settings.history.is_embedded:
        with _told_by("history"):
            cassandra_settings = _cassandra(settings)
            from history_service.cassandra import migrate as make_tables

            await make_tables(cassandra_settings, settings.copies, settings.inbox_days)
        seen_to.append(f"keyspace {settings.history.name}")
    return seen_to


def told(settings: Settings) -> list[str]:
    """What `migrate` would make: a shell command for each topic, CQL for keyspace and tables. Raises SettingsRefused."""
    lines = []
    if not settings.log.is_embedded:
        kafka_settings = _kafka(settings)
        from event_log.kafka_topics import topics

        servers = ",".join(map(str, settings.log.servers))
        for topic in topics(kafka_settings, settings.retention_s):
            configs = " ".join(f"--config {name}={value}" for name, value in topic.configs.items())
            lines.append(
                f"kafka-topics.sh --bootstrap-server {servers} --create --if-not-exists --topic {topic.name} "
                f"--partitions {topic.partitions} --replication-factor {settings.copies} {configs}"
            )
    if not settings.history.is_embedded:
        from history_service.cassandra_schema import Replication, statements

        replication = Replication(settings.cassandra_datacenter or "datacenter1", settings.copies)
        lines += [f"{line};" for line in statements(settings.history.name, replication, settings.inbox_days)]
    return lines


def _kafka(settings: Settings) -> "KafkaLogSettings":
    try:
        from event_log.kafka import KafkaLogSettings, KafkaSecurity
    except ImportError as error:
        raise _not_installed("log", "kafka", error) from error
    try:
        security = KafkaSecurity(
            tls=settings.kafka_tls,
            ca_file=settings.kafka_ca_file,
            certificate_file=settings.kafka_cert_file,
            key_file=settings.kafka_key_file,
            username=settings.kafka_username,
            password=settings.kafka_password,
            mechanism=settings.kafka_mechanism,
        )
        _check_files(settings, _KAFKA_FILES, security.context)
        return KafkaLogSettings(
            servers=tuple(map(str, settings.log.servers)),
            topic=settings.log.name,
            partitions=settings.partitions,
            security=security,
            development=settings.few_copies,
            least_retention_s=settings.retention_s,
        )
    except ValueError as error:
        raise SettingsRefused([f"kafka_*: {error}."]) from error


def _check_files(settings: Settings, names: Collection[str], make_context: Callable[[], object]) -> None:
    """Whether what these name can be used for TLS. Raises SettingsRefused."""
    for name in names:
        path = getattr(settings, name)
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as error:
            raise SettingsRefused([f"{name}: {path} cannot be read: {error.strerror}."]) from error
    try:
        make_context()
    except ssl.SSLError as error:
        raise SettingsRefused([f"{', '.join(names)}: cannot be used for TLS: {error}."]) from error


def _cassandra(settings: Settings) -> "CassandraSettings":
    try:
        from history_service.cassandra import CassandraSettings
    except ImportError as error:
        raise _not_installed("history", "cassandra", error) from error
    _check_cassandra(settings)
    return CassandraSettings(
        contact_points=tuple((server.host, server.port) for server in settings.history.servers),
        keyspace=settings.history.name,
        datacenter=settings.cassandra_datacenter,
        username=settings.cassandra_username,
        password=settings.cassandra_password,
        tls=_cassandra_tls(settings),
        development=settings.few_copies,
    )


def _check_cassandra(settings: Settings) -> None:
    """Whether these settings go together. Raises SettingsRefused."""
    if not settings.cassandra_tls and any(getattr(settings, name) for name in _CASSANDRA_FILES):
        raise SettingsRefused([f"{', '.join(_CASSANDRA_FILES)}: are for cassandra_tls, which is off."])
    if settings.cassandra_tls and settings.cassandra_ca_file is None:
        raise SettingsRefused(
            [
                "cassandra_tls, cassandra_ca_file: are set both. Names of nodes are not checked, so any certificate of the "
                "authorities that the system trusts would do."
            ]
        )
    if bool(settings.cassandra_cert_file) != bool(settings.cassandra_key_file):
        raise SettingsRefused(["cassandra_cert_file, cassandra_key_file: are set both or not at all."])
    if bool(settings.cassandra_username) != bool(settings.cassandra_password):
        raise SettingsRefused(["cassandra_username, cassandra_password: are set both or not at all."])
    _check_files(settings, _CASSANDRA_FILES, lambda: _cassandra_tls(settings))


def _cassandra_tls(settings: Settings) -> ssl.SSLContext | None:
    """For nodes with certificates of one authority, whatever their names."""
    if not settings.cassandra_tls:
        return None
    context = ssl.create_default_context(cafile=settings.cassandra_ca_file)
    context.check_hostname = False  # nodes are known by the addresses that the cluster tells
    if settings.cassandra_cert_file:
        context.load_cert_chain(settings.cassandra_cert_file, settings.cassandra_key_file)
    return context


def _not_installed(setting: str, extra: str, error: ImportError) -> SettingsRefused:
    return SettingsRefused(
        [f"{setting}: {error.name} is not installed. Install messaging-cell with the extra `{extra}`."]
    )


@contextmanager
def _told_by(setting: str) -> Iterator[None]:
    """Failures of an engine, by the setting that names it."""
    try:
        yield
    except (TimeoutError, FolderInUse, NotDurable, StoreError, StoreUnavailable, LogError, OSError) as error:
        faults = [fault.rstrip(".") for fault in str(error).splitlines()]
        raise StorageRefused("\n".join(f"{setting}: {fault}." for fault in faults)) from error
