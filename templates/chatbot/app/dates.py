"""Dates as people write them: 2026-05-31, tomorrow, next Friday, in 3 days, 5 June."""

import re
from dataclasses import dataclass
from datetime import date, timedelta

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_ISO = re.compile(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})\b")
_NAMED = re.compile(r"(?:the\s+)?(?:(?:end\s+of\s+)?(?P<named>today|tomorrow|next week|next month))\b", re.IGNORECASE)
_IN = re.compile(r"(?:in\s+)?(?P<count>\d{1,3}|a|one|two|three)\s+(?P<unit>day|week|month)s?\b", re.IGNORECASE)
_WEEKDAY = re.compile(
    r"(?:on\s+)?(?:(?P<next>next)\s+|this\s+)?(?P<day>mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\b",
    re.IGNORECASE,
)
_DAY_MONTH = re.compile(
    rf"(?:on\s+)?(?:the\s+)?(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)?\s+(?:of\s+)?{_MONTH}\b(?:,?\s+(?P<year>\d{{4}}))?",
    re.IGNORECASE,
)
_MONTH_DAY = re.compile(
    rf"(?:on\s+)?{_MONTH}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(?P<year>\d{{4}}))?", re.IGNORECASE
)
_COUNTS = {"a": 1, "one": 1, "two": 2, "three": 3}
_LENGTHS = {"day": 1, "week": 7, "month": 30}


@dataclass(frozen=True, slots=True)
class FoundDate:
    day: date
    length: int
    """Characters of the text that it took."""


def date_in(text: str, today: date) -> FoundDate | None:
    """The date that `text` begins with."""
    for pattern, read in _READERS:
        match = pattern.match(text)
        day = read(match, today) if match else None
        if match and day:
            return FoundDate(day, match.end())
    return None


def _iso(match: re.Match[str], today: date) -> date | None:
    return _day(int(match["year"]), int(match["month"]), int(match["day"]))


def _named(match: re.Match[str], today: date) -> date | None:
    days = {"today": 0, "tomorrow": 1, "next week": 7, "next month": 30}
    return today + timedelta(days=days[" ".join(match["named"].lower().split())])


def _in(match: re.Match[str], today: date) -> date | None:
    count = match["count"].lower()
    number = _COUNTS[count] if count in _COUNTS else int(count)
    return today + timedelta(days=number * _LENGTHS[match["unit"].lower()])


def _weekday(match: re.Match[str], today: date) -> date | None:
    """The next day of that name; "next" skips to the week after where that day is still to come in this one."""
    wanted = _DAYS.index(match["day"].lower()[:3])
    ahead = (wanted - today.weekday()) % 7 or 7
    is_this_week = today.weekday() + ahead <= 6
    return today + timedelta(days=ahead + (7 if match["next"] and is_this_week else 0))


def _of_month(match: re.Match[str], today: date) -> date | None:
    """Without a year, the next such day."""
    month, day = _MONTHS.index(match["month"].lower()[:3]) + 1, int(match["day"])
    if match["year"]:
        return _day(int(match["year"]), month, day)
    this_year = _day(today.year, month, day)
    return this_year if this_year and this_year >= today else _day(today.year + 1, month, day)


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


_READERS = (
    (_ISO, _iso),
    (_NAMED, _named),
    (_DAY_MONTH, _of_month),
    (_MONTH_DAY, _of_month),
    (_IN, _in),
    (_WEEKDAY, _weekday),
)
