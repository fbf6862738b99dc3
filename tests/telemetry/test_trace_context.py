import pytest

from telemetry import trace_context
from telemetry.trace_context import MAX_BYTES, TraceContext, parse, traceparent_of

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_there_and_back() -> None:
    """A traceparent says whose span it is and whether its trace is kept, and is written as it was read."""
    assert parse(GIVEN) == TraceContext(TRACE, SPAN, True)
    assert str(parse(GIVEN)) == GIVEN
    assert str(TraceContext(1, 2, False)) == f"00-{1:032x}-{2:016x}-00"


@pytest.mark.parametrize(
    ("given", "sampled"),
    [(GIVEN[:-2] + flags, sampled) for flags, sampled in (("00", False), ("02", False), ("03", True))]
    + [("01" + GIVEN[2:], True), ("cc" + GIVEN[2:] + "-later", True)],
)
def test_other_flags_and_later_versions_are_read(given: str, sampled: bool) -> None:
    """Only the flag that is known counts, and of a later version what version 00 has."""
    assert parse(given) == TraceContext(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "00-trace",
        GIVEN.upper(),
        GIVEN + "-",
        GIVEN + "\n",
        " " + GIVEN,
        "ff" + GIVEN[2:],
        GIVEN.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        GIVEN.replace("b7ad6b7169203331", "0" * 16),
        GIVEN.replace("a", "\N{ARABIC-INDIC DIGIT ONE}"),
        GIVEN[:-1],
        "01" + GIVEN[2:] + "later",
    ],
)
def test_what_is_none_is_none(given: str) -> None:
    """Anything else is not a trace context, whoever writes it."""
    assert parse(given) is None


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        (None, ""),
        ([("authorization", "x"), ("traceparent", GIVEN)], GIVEN),
        ([("traceparent", "nothing")], ""),
        ([("traceparent", GIVEN.encode())], ""),
        ([("traceparent", "01" + GIVEN[2:] + "-" + "x" * MAX_BYTES)], ""),
    ],
)
def test_metadata_of_a_call(metadata: list[tuple[str, str | bytes]] | None, found: str) -> None:
    """A call's trace context is in its metadata; what is none, or is longer than records take, counts as none."""
    assert traceparent_of(metadata) == found
    assert trace_context.MAX_BYTES == 64
