"""Settings that cannot work are refused before any broker is asked, by name."""

from pathlib import Path

import pytest

from event_log.kafka_settings import KafkaLogSettings, KafkaSecurity, address_of


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"servers": ()}, "servers is empty"),
        ({"servers": ("broker",)}, "host:port, not 'broker'"),
        ({"servers": ("broker:0",)}, "host:port"),
        ({"topic": "with space"}, "topic is 1 to 236"),
        ({"topic": ".."}, "topic is 1 to 236"),
        ({"partitions": 513}, "partitions is 1 to 512, not 513"),
        ({"heartbeat_interval_s": 3.0}, "at most a third of session_timeout_s"),
        ({"delivery_timeout_s": 15.0}, "below the 15 s of R3"),
        ({"request_timeout_s": 11.0}, "at most delivery_timeout_s"),
    ],
)
def test_refuses_what_cannot_work(settings: dict[str, object], message: str) -> None:
    """Each setting out of bounds is told with what is allowed."""
    with pytest.raises(ValueError, match=message):
        KafkaLogSettings(**{"servers": ("broker:9092",), "topic": "log", **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("security", "message"),
    [
        ({"mechanism": "SCRAM-MD5"}, "mechanism is one of SCRAM-SHA-256"),
        ({"mechanism": "PLAIN", "username": "a", "password": "b"}, "PLAIN sends the password as it is"),
        ({"username": "a"}, "username and password are set both"),
        ({"ca_file": Path("ca.pem")}, "for tls, which is off"),
        ({"tls": True, "certificate_file": Path("c.pem")}, "certificate_file and key_file are set both"),
    ],
)
def test_refuses_security_that_does_not_go_together(security: dict[str, object], message: str) -> None:
    """A password in the clear, half a login, half a certificate: told before anything is sent."""
    with pytest.raises(ValueError, match=message):
        KafkaSecurity(**security)  # type: ignore[arg-type]


def test_reads_addresses() -> None:
    """Names, and IP addresses of both kinds."""
    assert address_of("kafka.example:9092") == ("kafka.example", 9_092)
    assert address_of("[::1]:9092") == ("::1", 9_092)
