"""What a written date or time names."""

from __future__ import annotations

import datetime
import re
from typing import TypeAlias

Moment: TypeAlias = datetime.datetime | datetime.date | datetime.time

LONGEST = 60  # characters: nobody writes a date longer
MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
          "november", "december")  # fmt: skip
_NAME = r"(?P<name>[a-z]{3,9})\.?"
_DAY_WITH_NAME = r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?"
_DATES = (
    re.compile(r"(?P<year>[0-9]{4})([-/.])(?P<month>[0-9]{1,2})\2(?P<day>[0-9]{1,2})"),
    re.compile(rf"{_DAY_WITH_NAME}\.? (?:of )?{_NAME},? (?P<year>[0-9]{{4}})"),
    re.compile(rf"{_NAME} {_DAY_WITH_NAME},? (?P<year>[0-9]{{4}})"),
)
_TIME = re.compile(r"([0-9]{1,2})(?::([0-9]{2}))?(?::([0-9]{2}))? ?(?:([ap])\.?m\.?)?")
_DATE_AND_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}.*", re.DOTALL)


def moment_of(text: str) -> Moment | None:
    """What a date-time or a time in a format of ISO 8601 names, times without a zone taken as UTC."""
    kinds: tuple[type[datetime.datetime] | type[datetime.time], ...] = (datetime.datetime, datetime.time)
    if len(text) > LONGEST:
        return None
    for kind in kinds:
        try:
            found = kind.fromisoformat(text)
        except ValueError:
            continue
        return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
    return None


def named_moment(text: str) -> Moment | None:
    """What a date or a time in one of the usual forms names: 2026-03-01, 2026/3/1, 1 March 2026, Mar. 1st, 2026, 15:00,
    3 pm, 2026-03-01T15:00. None for what could be two days (03/04/2026), or none.
    """
    if len(text) > LONGEST:
        return None
    said = " ".join(text.lower().split())
    if _DATE_AND_TIME.fullmatch(said.upper()):
        return moment_of(said.upper())
    return _date(said) or _time(said)


def _date(said: str) -> datetime.date | None:
    for form in _DATES:
        if found := form.fullmatch(said):
            parts = found.groupdict()
            month = int(parts["month"]) if "month" in parts else _month(parts["name"])
            try:
                return datetime.date(int(parts["year"]), month, int(parts["day"]))
            except ValueError:
                return None
    return None


def _month(name: str) -> int:
    """Its number by its whole name, or three letters of it (four of September); 0 where it is none."""
    for number, month in enumerate(MONTHS, 1):
        if name in (month, month[:3]) or (name == "sept" and number == 9):
            return number
    return 0


def _time(said: str) -> datetime.time | None:
    found = _TIME.fullmatch(said)
    if found is None or not (found[2] or found[4]):  # a number alone is no time
        return None
    hour, minute, second = (int(digits or 0) for digits in found.group(1, 2, 3))
    if found[4]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if found[4] == "p" else 0)
    try:
        return datetime.time(hour, minute, second, tzinfo=datetime.UTC)
    except ValueError:
        return None
