"""Settings of a cell of many processes: who they are, and how they find and trust each other."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from messaging_cell.setting_kinds import (
    ADDRESS,
    BOOLEAN,
    PATH,
    SERVERS,
    Address,
    ServerAddresses,
    Setting,
    text,
    whole,
)
from messaging_cell.telemetry_settings import TelemetrySettings

_Processes = partial(Setting, group="Processes")
_File = partial(_Processes, kind=PATH, default_text="none")
_INTERNAL = Address("127.0.0.1", 50_061)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings(TelemetrySettings):
    """What processes of one service need."""

    server_id: Annotated[
        str,
        _Processes(
            "Name of the process, told to clients and logs.",
            text(r"[A-Za-z0-9._:-]{1,64}", "1 to 64 letters, digits, dots, dashes, underscores or colons"),
            default_text="the cell's; of one service host name and internal port",
        ),
    ] = ""
    internal_listen: Annotated[
        Address,
        _Processes(
            "Where a process of one service answers the others, and probes. Workers take as many ports from this one on.",
            ADDRESS,
        ),
    ] = _INTERNAL
    servers: Annotated[
        tuple[ServerAddresses, ...],
        _Processes(
            "Where the delivery service finds the messaging servers: the internal ports of all their workers.",
            SERVERS,
            default_text=f"`{_INTERNAL}`",
        ),
    ] = (ServerAddresses(_INTERNAL.host, range(_INTERNAL.port, _INTERNAL.port + 1), False),)
    workers: Annotated[
        int, _Processes("Processes of a messaging server, on one port for clients.", whole(1, 64))
    ] = 1
    shared_port: Annotated[
        bool,
        _Processes(
            "Let other processes take the port for clients, too. Workers do.", BOOLEAN, default_text="false"
        ),
    ] = False
    internal_cert_file: Annotated[
        Path | None, _File("PEM file with the certificate that processes of the cell show each other.")
    ] = None
    internal_key_file: Annotated[Path | None, _File("PEM file with the key of that certificate.")] = None
    internal_ca_file: Annotated[
        Path | None, _File("PEM file with the authorities that those certificates must be of.")
    ] = None
