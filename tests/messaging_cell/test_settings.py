"""The table of settings, and what becomes of flags and variables."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from messaging_cell.setting_kinds import Address, EngineAddress, ServerAddresses
from messaging_cell.setting_sources import Row, load, rows, variable
from messaging_cell.settings import TOGETHER, ClientSettings, Settings, SettingsRefused, default_data_folder
from messaging_core.limits import Limits

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"
GOOD = {
    "listen": ("[::1]:0", Address("::1", 0)),
    "address": ("cell.example:443", Address("cell.example", 443)),
    "data_folder": ("/srv/cell", Path("/srv/cell")),
    "cell_id": ("eu-1", "eu-1"),
    "token": ("abc.def.ghi", "abc.def.ghi"),
    "jwt_secret": ("s" * 32, "s" * 32),
    "jwt_secret_file": ("/run/secret", Path("/run/secret")),
    "jwt_public_key_file": ("/run/key.pem", Path("/run/key.pem")),
    "jwt_jwks_file": ("/run/keys.json", Path("/run/keys.json")),
    "jwt_jwks_url": ("https://id.example/keys", "https://id.example/keys"),
    "jwt_algorithms": ("RS256, ES256", ("RS256", "ES256")),
    "jwt_issuer": ("https://id.example", "https://id.example"),
    "jwt_audience": ("cell", "cell"),
    "jwt_user_claim": ("https://id.example/user", "https://id.example/user"),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
    "insecure": ("true", True),
    "tls": ("true", True),
    **{name: ("/tls.pem", Path("/tls.pem")) for names in TOGETHER for name in names},
    "kafka_ca_file": ("/tls.pem", Path("/tls.pem")),
    "cassandra_ca_file": ("/tls.pem", Path("/tls.pem")),
    "few_copies": ("true", True),
    "kafka_tls": ("true", True),
    "cassandra_tls": ("true", True),
    "shared_port": ("true", True),
    "log": (
        "kafka://one,two:9093/chat",
        EngineAddress("kafka", (Address("one", 9_092), Address("two", 9_093)), "chat"),
    ),
    "history": ("cassandra://[::1]/chat", EngineAddress("cassandra", (Address("::1", 9_042),), "chat")),
    "kafka_username": ("cell", "cell"),
    "kafka_password": ("a secret", "a secret"),
    "kafka_mechanism": ("PLAIN", "PLAIN"),
    "cassandra_username": ("cell", "cell"),
    "cassandra_password": ("a secret", "a secret"),
    "cassandra_datacenter": ("eu-1", "eu-1"),
    "server_id": ("server-1:50061", "server-1:50061"),
    "internal_listen": ("0.0.0.0:50061", Address("0.0.0.0", 50_061)),
    "servers": (
        "one:50061-50064,dns:servers.example:7",
        (
            ServerAddresses("one", range(50_061, 50_065), False),
            ServerAddresses("servers.example", range(7, 8), True),
        ),
    ),
    "ca_file": ("/tls.pem", Path("/tls.pem")),
    "partitions": ("32", 32),
    "retention_s": ("172_800", 172_800),
    "max_frame_bytes": ("2_000_000", 2_000_000),
    "window_bytes": ("65536", 65_536),
    "max_mark_participants": ("4", 4),
    "hello_timeout_s": ("2.5", 2.5),
    "ping_interval_s": ("15", 15.0),
    "jwt_leeway_s": ("0", 0.0),
    "drain_s": ("0.5", 0.5),
    "otlp_endpoint": ("http://collector:4317", "http://collector:4317"),
    "trace_ratio": ("0.5", 0.5),
    "metrics_interval_s": ("2.5", 2.5),
    "metrics_listen": ("0.0.0.0:9464", Address("0.0.0.0", 9_464)),
}
BAD = {
    "insecure": ["yes", "True", "1"],
    "tls": ["on"],
    **{name: ["\0"] for names in TOGETHER for name in names},
    "kafka_ca_file": ["\0"],
    "cassandra_ca_file": ["\0"],
    "few_copies": ["yes"],
    "kafka_tls": ["yes"],
    "cassandra_tls": ["yes"],
    "shared_port": ["yes"],
    "log": ["kafka", "kafka://a", "kafka:///chat", "kafka://a/b/c", "cassandra://a/chat", "kafka://a/ü"],
    "history": ["cassandra://a/Chat", "kafka://a/chat", "cassandra://a,/chat"],
    "kafka_username": ["x" * 256],
    "kafka_password": ["x" * 1_025],
    "kafka_mechanism": ["GSSAPI"],
    "cassandra_username": ["x" * 256],
    "cassandra_password": ["x" * 1_025],
    "cassandra_datacenter": ["eu 1"],
    "server_id": ["two words"],
    "internal_listen": ["here"],
    "servers": ["here", "a:0", "a:5-4", "a:1-999", "dns:a", "a:1,,b:2"],
    "ca_file": ["\0"],
    "listen": ["here", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:-1", ":80", "::1:80", "127.0.0.1:٣"],
    "address": ["http://127.0.0.1:50051", "a b:1"],
    "data_folder": ["a\0b", "~no-such-user/cell"],
    "cell_id": ["two words", "x" * 65],
    "token": ["two words", "ümlaut"],
    "jwt_secret": ["too short to be one"],
    "jwt_secret_file": ["\0"],
    "jwt_public_key_file": ["\0"],
    "jwt_jwks_file": ["\0"],
    "jwt_jwks_url": [
        "http://id.example/keys",
        "file:///keys",
        "id.example",
        "https://",
        "https://id.example/a b",
    ],
    "jwt_algorithms": ["none", "HS256,none", "RS256;ES256", "hs256"],
    "jwt_issuer": ["x" * 1_025],
    "jwt_audience": ["x" * 1_025],
    "jwt_user_claim": ["x" * 257],
    "log_level": ["loud", "INFO"],
    "log_format": ["xml"],
    "otlp_endpoint": [
        "collector:4317",
        "http://collector",
        "grpc://collector:4317",
        "http://a:4317/",
        "http://a:0",
    ],
    "metrics_listen": ["here", "9464"],
    "trace_ratio": ["1.01", "-0.1", "nan", "1%"],
}
SERVER_ROWS = list(rows(Settings))
CLIENT_ROWS = list(rows(ClientSettings))
ALL_ROWS = [(Settings, row) for row in SERVER_ROWS] + [(ClientSettings, row) for row in CLIENT_ROWS]


def _id(value: object) -> str:
    return value.name if isinstance(value, Row) else ""


def _good(row: Row) -> tuple[str, object]:
    return GOOD.get(row.name, ("3", 3))


def _companions(row: Row) -> dict[str, str]:
    """What must be set too."""
    if row.name in ("jwt_algorithms", "jwt_issuer", "jwt_audience"):
        return {"CELL_JWT_SECRET": "s" * 32}
    together = next((names for names in TOGETHER if row.name in names), ())
    return {variable(name): "/tls.pem" for name in together if name != row.name}


@pytest.mark.parametrize(("table", "row"), ALL_ROWS, ids=_id)
def test_a_setting_comes_from_its_variable(table: type[Settings], row: Row) -> None:
    """Every setting is taken from its CELL_* variable, with its type."""
    text, value = _good(row)
    settings = load(table, {}, {row.variable: text, **_companions(row)})
    assert getattr(settings, row.name) == value
    assert type(getattr(settings, row.name)) is type(value)


@pytest.mark.parametrize(("table", "row"), [pair for pair in ALL_ROWS if pair[1].flag], ids=_id)
def test_a_flag_wins_over_a_variable(table: type[Settings], row: Row) -> None:
    """Every setting with a flag is taken from it, even where the variable is set, and to something wrong."""
    text, value = _good(row)
    settings = load(table, {row.name: text}, {row.variable: "\0 wrong", **_companions(row)})
    assert getattr(settings, row.name) == value


@pytest.mark.parametrize(("table", "row"), ALL_ROWS, ids=_id)
def test_a_bad_value_is_refused_with_name_fault_and_what_is_allowed(table: type[Settings], row: Row) -> None:
    """Every setting refuses what it cannot be, and says where that came from and what it can be."""
    for bad in (*BAD.get(row.name, ["-1", "many", "1e400", "nan", "0x10"]), ""):
        with pytest.raises(SettingsRefused) as refused:
            load(table, {}, {row.variable: bad})
        assert refused.value.faults[0].startswith(f"{row.variable}: ")
        assert refused.value.faults[0].endswith(f"It must be {row.setting.kind.allowed}.")
        if row.flag:
            with pytest.raises(SettingsRefused, match=f"^{row.flag}: "):
                load(table, {row.name: bad}, {})


def test_numbers_are_bounded() -> None:
    """A number is taken from its lowest to its highest, and no further."""
    assert load(Settings, {"partitions": "1"}, {}).partitions == 1
    assert load(Settings, {"partitions": "512"}, {}).partitions == 512
    for outside in ("0", "513"):
        with pytest.raises(SettingsRefused, match="from 1 to 512"):
            load(Settings, {"partitions": outside}, {})


def test_an_unknown_variable_is_refused() -> None:
    """A CELL_* variable that names no setting is refused, with the setting that was probably meant."""
    with pytest.raises(SettingsRefused) as refused:
        load(Settings, {}, {"CELL_PARTITION": "4", "CELL_QQ": "1", "SOMETHING_ELSE": "x"})
    partition, qq = refused.value.faults
    assert partition == "CELL_PARTITION: there is no such setting. Did you mean CELL_PARTITIONS?"
    assert qq.startswith("CELL_QQ: there is no such setting.")


def test_variables_of_the_other_commands_are_known() -> None:
    """One environment serves both the cell and its client commands."""
    assert load(Settings, {}, {"CELL_ADDRESS": "localhost:1", "CELL_TOKEN": "t"}) == Settings()
    assert load(ClientSettings, {}, {"CELL_PARTITIONS": "4"}) == ClientSettings()


def test_all_faults_are_told_at_once() -> None:
    """Someone who makes three mistakes hears of three."""
    with pytest.raises(SettingsRefused) as refused:
        load(Settings, {"partitions": "x"}, {"CELL_DRAIN_S": "x", "CELL_NO": "x"})
    assert len(refused.value.faults) == 3


def test_secrets_are_never_shown() -> None:
    """Neither a refusal nor the settings' own representation holds a secret."""
    for table, name in ((Settings, "CELL_JWT_SECRET"), (ClientSettings, "CELL_TOKEN")):
        with pytest.raises(SettingsRefused) as refused:
            load(table, {}, {name: "pass word"})  # type: ignore[type-var]
        assert "pass word" not in str(refused.value)
    secret = "a secret that is long enough to be a key"
    assert secret not in repr(load(Settings, {}, {"CELL_JWT_SECRET": secret}))
    assert secret not in repr(ClientSettings(token=secret))


def test_keys_come_from_one_place() -> None:
    """Two key settings are refused, because one of them would silently not count."""
    with pytest.raises(SettingsRefused, match="jwt_secret and jwt_jwks_file are set"):
        load(Settings, {}, {"CELL_JWT_SECRET": "s" * 32, "CELL_JWT_JWKS_FILE": "/keys"})


@pytest.mark.parametrize("name", ["jwt_issuer", "jwt_audience", "jwt_algorithms"])
def test_rules_for_tokens_without_keys_are_refused(name: str) -> None:
    """Whoever says what tokens must be, and forgets the keys, does not get development mode."""
    with pytest.raises(SettingsRefused, match=f"{name} is set, but no keys are"):
        load(Settings, {name: GOOD[name][0]}, {})


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"tls_cert_file": Path("/a")}, "tls_cert_file is set, but not tls_key_file: they go together."),
        ({"tls_key_file": Path("/a")}, "tls_key_file is set, but not tls_cert_file: they go together."),
        (
            {"tls_cert_file": Path("/a"), "tls_key_file": Path("/a"), "insecure": True},
            "insecure is true, but tls_cert_file and tls_key_file are set. Keep one of the two.",
        ),
    ],
)
def test_tls_settings_go_together(given: dict[str, Any], fault: str) -> None:
    """A certificate needs its key, and who has both does not want to be insecure."""
    with pytest.raises(SettingsRefused) as refused:
        Settings(**given)
    assert refused.value.faults == [fault]


def test_a_frame_must_hold_the_largest_message() -> None:
    """Limits that contradict each other are refused, with the least that works."""
    with pytest.raises(
        SettingsRefused, match=r"max_frame_bytes: 65,536 is too little .* at least"
    ) as refused:
        load(Settings, {"max_frame_bytes": "65536"}, {})
    least = str(refused.value).rpartition(" ")[2].removesuffix(".").replace(",", "")
    assert load(Settings, {"max_frame_bytes": least}, {}).max_frame_bytes == int(least)


def test_every_limit_is_a_setting() -> None:
    """No number of messaging_core.limits.Limits is out of an operator's reach, and defaults are the same."""
    assert {limit.name for limit in fields(Limits)} <= {row.name for row in SERVER_ROWS}
    assert Settings().limits == Limits()
    assert load(Settings, {"max_in_flight": "7"}, {}).limits.max_in_flight == 7


def test_the_data_folder_is_where_the_platform_keeps_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_DATA_HOME counts if it is absolute, as its specification says."""
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_data_folder() == Path("/data/messaging-cell")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_data_folder() == Path("/home/me/.local/share/messaging-cell")


def _documented() -> Iterator[str]:
    for line in DOCS.read_text().splitlines():
        if line.startswith("| ") and "`CELL_" in line:
            yield line


def _expected(row: Row) -> str:
    flag = f"`{row.flag}`" if row.flag else ""
    default = row.default if row.setting.default_text else f"`{row.default}`"
    return f"| {flag} | `{row.variable}` | {default} | {row.setting.kind.allowed} | {row.setting.help} |"


def test_the_documentation_has_every_setting_and_no_other() -> None:
    """docs/settings.md says of each setting what the table says, in its order, and nothing of settings that do not exist."""
    assert list(_documented()) == [_expected(row) for _, row in ALL_ROWS]
