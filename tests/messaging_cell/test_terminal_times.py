"""Times as people write them."""

from datetime import datetime, timedelta, timezone

import pytest

from messaging_cell.terminal_times import FORMS, NotATime, time_of

NOW = datetime(2026, 11, 21, 14, 30, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("written", "day", "clock"),
    [
        ("2026-11-20 15:00", 20, "15:00:00"),
        ("2026-11-20T15:00", 20, "15:00:00"),
        (" 2026-11-20 15:00:07.5 ", 20, "15:00:07"),
        ("20261120T1500", 20, "15:00:00"),
        ("2026-11-20", 20, "00:00:00"),
        ("15:00", None, "15:00:00"),
        ("9:05", None, "09:05:00"),
        ("15:00:01", None, "15:00:01"),
        ("today", None, "00:00:00"),
        ("today 15:00", None, "15:00:00"),
        ("yesterday", -1, "00:00:00"),
        ("yesterday 9:05", -1, "09:05:00"),
    ],
)
def test_local_times(written: str, day: int | None, clock: str) -> None:
    """A day and a time, a time of today, a day: as this machine's clock shows them."""
    now = datetime.now().astimezone()
    found = time_of(written, now)
    assert found.tzinfo is not None
    assert found.astimezone().strftime("%H:%M:%S") == clock
    expected = now.day if day is None else (now - timedelta(days=1)).day if day < 0 else day
    assert found.astimezone().day == expected


@pytest.mark.parametrize(
    ("written", "ago"),
    [
        ("now", timedelta()),
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("30 min ago", timedelta(minutes=30)),
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("1w ago", timedelta(weeks=1)),
    ],
)
def test_so_long_ago(written: str, ago: timedelta) -> None:
    """A number and a unit."""
    assert time_of(written, NOW) == NOW - ago


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2026-11-20T15:00:00Z", "2026-11-20T15:00:00+00:00"),
        ("2026-11-20 15:00+01:00", "2026-11-20T14:00:00+00:00"),
        ("2026-07-20 15:00 Europe/Vienna", "2026-07-20T13:00:00+00:00"),
        ("2026-11-20 15:00 Europe/Vienna", "2026-11-20T14:00:00+00:00"),
        ("2026-11-20 15:00 UTC", "2026-11-20T15:00:00+00:00"),
        ("yesterday 23:00 UTC", "2026-11-20T23:00:00+00:00"),
    ],
)
def test_times_of_another_zone(written: str, utc: str) -> None:
    """An offset, Z, or the name of a zone, whose own clock and calendar are meant."""
    assert time_of(written, NOW) == datetime.fromisoformat(utc)


@pytest.mark.parametrize(
    "written",
    [
        *("", " ", "soon", "25:00", "15", "15:00 pm", "2026-13-01", "2026-11-20 15:00 Nowhere/Town"),
        *(
            "99999999999d",
            "999999w",
            "-2h",
            "yesterday noon",
            "2026-11-20 15:00 ../../etc/passwd",
            "20.11.2026",
        ),
    ],
)
def test_what_is_no_time_is_told_with_the_forms(written: str) -> None:
    """The error says what was written, and how to write it."""
    with pytest.raises(NotATime) as error:
        time_of(written, NOW)
    assert FORMS in str(error.value)
    assert repr(written) in str(error.value)
