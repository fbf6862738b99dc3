"""Settings of the engines: where log and history are, and how to get in. Part of the table of settings.py."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

from messaging_cell.setting_kinds import (
    BOOLEAN,
    EMBEDDED,
    PATH,
    EngineAddress,
    Setting,
    engine,
    one_of,
    text,
    whole,
)

_Engines = partial(Setting, group="Engines")
_Off = partial(_Engines, kind=BOOLEAN, default_text="false")
_File = partial(_Engines, kind=PATH, default_text="none")
_Name = partial(_Engines, kind=text(r".{1,255}", "not empty"), default_text="none")
_Password = partial(
    _Engines, kind=text(r".{1,1024}", "not empty"), secret=True, has_flag=False, default_text="none"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Where what is kept is."""

    log: Annotated[
        EngineAddress,
        _Engines(
            "Where the log is: in the data folder, or a topic of Kafka.",
            engine("kafka", 9_092, "topic", r"[A-Za-z0-9._-]{1,230}"),
        ),
    ] = EMBEDDED
    history: Annotated[
        EngineAddress,
        _Engines(
            "Where history is: in the data folder, or a keyspace of Cassandra.",
            engine("cassandra", 9_042, "keyspace", r"[a-z][a-z0-9_]{0,47}"),
        ),
    ] = EMBEDDED
    copies: Annotated[
        int, _Engines("Copies of each record and row that `cell migrate` asks for.", whole(1, 7))
    ] = 3
    few_copies: Annotated[
        bool, _Off("Take a topic and a keyspace that keep fewer than three copies. For development.")
    ] = False
    inbox_days: Annotated[
        int,
        _Engines(
            "Days for which Cassandra keeps what clients that return are told; set by `cell migrate`.",
            whole(2, 3_650),
        ),
    ] = 30
    kafka_username: Annotated[str, _Name("Name to log in to Kafka with.")] = ""
    kafka_password: Annotated[str, _Password("Its password.")] = field(default="", repr=False)
    kafka_mechanism: Annotated[
        str, _Engines("How to log in.", one_of("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"))
    ] = "SCRAM-SHA-512"
    kafka_tls: Annotated[bool, _Off("Talk to Kafka over TLS.")] = False
    kafka_ca_file: Annotated[
        Path | None,
        _Engines("PEM file with the authorities of Kafka's certificates.", PATH, default_text="the system's"),
    ] = None
    kafka_cert_file: Annotated[Path | None, _File("PEM file with the certificate shown to Kafka.")] = None
    kafka_key_file: Annotated[Path | None, _File("PEM file with the key of that certificate.")] = None
    cassandra_username: Annotated[str, _Name("Name to log in to Cassandra with.")] = ""
    cassandra_password: Annotated[str, _Password("Its password.")] = field(default="", repr=False)
    cassandra_datacenter: Annotated[
        str,
        _Engines(
            "The datacenter whose nodes are asked.",
            text(r"[A-Za-z0-9._-]{1,255}", "letters, digits, dots, dashes or underscores"),
            default_text="that of the first node",
        ),
    ] = ""
    cassandra_tls: Annotated[bool, _Off("Talk to Cassandra over TLS.")] = False
    cassandra_ca_file: Annotated[
        Path | None,
        _File(
            "PEM file with the authorities of Cassandra's certificates, whose names are not checked. TLS needs it."
        ),
    ] = None
    cassandra_cert_file: Annotated[
        Path | None, _File("PEM file with the certificate shown to Cassandra.")
    ] = None
    cassandra_key_file: Annotated[Path | None, _File("PEM file with the key of that certificate.")] = None
