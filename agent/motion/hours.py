"""When motion makes events: `Mo-Fr 08:00-18:00`, `Sa,Su`, `22:00-06:00`, in the machine's local time."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from agent.errors import ConfigError

DAYS = ("mo", "tu", "we", "th", "fr", "sa", "su")
DAY_MIN = 24 * 60
_DAYS = r"[a-z]{2}(?:\s*-\s*[a-z]{2})?"
_SPAN = re.compile(rf"({_DAYS}(?:\s*,\s*{_DAYS})*)?\s*(?:(\d?\d):(\d\d)\s*-\s*(\d?\d):(\d\d))?")


@dataclass(frozen=True, slots=True)
class Hours:
    """Days (0: Monday) and minutes of the day, the end not included; an end before the begin is the next day's."""

    days: frozenset[int]
    begin_min: int
    end_min: int

    def cover(self, local: time.struct_time) -> bool:
        minute, today = local.tm_hour * 60 + local.tm_min, local.tm_wday
        if self.begin_min < self.end_min:
            return today in self.days and self.begin_min <= minute < self.end_min
        return (today in self.days and minute >= self.begin_min) or (
            (today - 1) % 7 in self.days and minute < self.end_min
        )


def parse(text: str) -> Hours:
    """Raises ConfigError that quotes the text."""
    found = _SPAN.fullmatch(text.strip().lower())
    if not found or not found[0]:
        raise ConfigError(f"schedule: '{text}' is not like 'Mo-Fr 08:00-18:00', 'Sa,Su' or '22:00-06:00'")
    days = frozenset(range(7)) if found[1] is None else _days(found[1], text)
    if found[2] is None:
        return Hours(days, 0, DAY_MIN)
    begin, end = _minute(found[2], found[3], text), _minute(found[4], found[5], text)
    if begin in (end, DAY_MIN):
        raise ConfigError(f"schedule: '{text}' is no time at all")
    return Hours(days, begin, end)


def _days(text: str, whole: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        ends = [d.strip() for d in part.split("-")]
        if wrong := [d for d in ends if d not in DAYS]:
            raise ConfigError(f"schedule: '{whole}': '{wrong[0]}' is no day (Mo, Tu, We, Th, Fr, Sa, Su)")
        first, last = DAYS.index(ends[0]), DAYS.index(ends[-1])
        days.update((first + i) % 7 for i in range((last - first) % 7 + 1))
    return frozenset(days)


def _minute(hours: str, minutes: str, whole: str) -> int:
    minute = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or minute > DAY_MIN:
        raise ConfigError(f"schedule: '{whole}': {hours}:{minutes} is no time of the day")
    return minute


@dataclass(frozen=True, slots=True)
class Schedule:
    """Always, if there is none."""

    hours: tuple[Hours, ...] = ()

    def covers(self, wall_ns: int) -> bool:
        """Whether motion at this time (UTC) makes events."""
        return not self.hours or any(h.cover(time.localtime(wall_ns / 1e9)) for h in self.hours)
