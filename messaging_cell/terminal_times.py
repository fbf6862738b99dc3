"""Times as people write and read them."""

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

FORMS = '15:00, "2026-11-20 15:00", "yesterday 15:00", 2h (so long ago), or 2026-11-20T15:00:00+01:00'
"""How a time can be written, to be shown to people."""
_AGO = re.compile(r"(\d{1,6})\s*(s|min|m|h|d|w)(?: ago)?")
_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAYS = {"today": 0, "yesterday": 1}


class NotATime(ValueError):
    """What was written is no time. The text is for the user, and shows the forms."""

    def __init__(self, written: str) -> None:
        super().__init__(f"{written!r} is no time. Write {FORMS}.")


def time_of(written: str, now: datetime | None = None) -> datetime:
    """A time as people write it, in this machine's zone unless it names one. Raises NotATime.

    Taken are the FORMS, seconds and their fractions, "now", a day alone for its beginning, all that
    datetime.fromisoformat takes (ISO 8601), and at the end the name of a zone: "2026-11-20 15:00 Europe/Vienna".
    """
    now = now or datetime.now().astimezone()
    try:
        return _ago(written.strip(), now) or _moment(written.strip(), now)
    except (
        ValueError,
        OverflowError,
        KeyError,
        OSError,
    ) as error:  # no such form, no such year, no such zone
        raise NotATime(written) from error


def show_time(moment: datetime) -> str:
    """Clock time, with the date if that is not today."""
    local = moment.astimezone()
    return local.strftime("%H:%M" if local.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M")


def _ago(text: str, now: datetime) -> datetime | None:
    if text == "now":
        return now
    found = _AGO.fullmatch(text)
    return found and now - timedelta(**{_UNITS[found[2]]: int(found[1])})


def _moment(text: str, now: datetime) -> datetime:
    words = text.split()
    if len(words) > 1 and not words[-1][0].isdigit():
        zone = ZoneInfo(words.pop())
        now = now.astimezone(zone)
        return _without_zone(words, now).replace(tzinfo=zone)
    return _without_zone(words, now).astimezone()


def _without_zone(words: list[str], now: datetime) -> datetime:
    """A moment on the clock and calendar that `now` is of; with a zone only if the words themselves hold one."""
    day, clock = (words[0], words[1:]) if words and words[0] in _DAYS else ("", words)
    if len(clock) == 1 and re.fullmatch(r"\d\d?:\d\d.*", clock[0]):
        clock, day = [clock[0].rjust(5, "0") if len(clock[0]) == 4 else clock[0]], day or "today"
    if not day:
        return datetime.fromisoformat(" ".join(words))
    date = (now - timedelta(days=_DAYS[day])).date()
    return datetime.fromisoformat(f"{date} {clock[0]}" if clock else str(date))
