"""A schedule: the times of the week in which an owner lends the machine, in the machine's local time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from archipelag_contracts.week import EVERY_HOUR, HOURS

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES: Final = 24 * 60
WEEK_MINUTES: Final = len(DAYS) * DAY_MINUTES
ENTRIES_MAX: Final = 50

_TIMES: Final = re.compile(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)")
HOW: Final = "write it like `mon-fri 18:00-08:00, sat, sun`"


@dataclass(frozen=True)
class Schedule:
    """Always open without windows. A window is its first minute of the week and how many minutes it lasts.

    It is asked by what the clock on the wall shows: an hour that the clock skips in spring is skipped, one that it
    shows twice in autumn counts twice.
    """

    text: str = ""
    windows: tuple[tuple[int, int], ...] = ()

    def is_open(self, local: datetime) -> bool:
        now = _minute(local)
        return not self.windows or any(
            (now - start) % WEEK_MINUTES < length for start, length in self.windows
        )

    def opens(self, local: datetime) -> str:
        """When it next opens, as a person writes it; only for one that is closed now."""
        assert self.windows
        now = _minute(local)
        start = min((start for start, _ in self.windows), key=lambda s: (s - now) % WEEK_MINUTES)
        return _stamp(start)


def parse(text: str) -> Schedule:
    """Entries with commas, each days, times or both. Raises ValueError with a sentence about what is wrong."""
    entries = [entry.strip().lower() for entry in text.split(",") if entry.strip()]
    if len(entries) > ENTRIES_MAX:
        raise ValueError(f"more than {ENTRIES_MAX} entries")
    windows: list[tuple[int, int]] = []
    for entry in entries:
        first, *rest = entry.split()
        days = range(len(DAYS)) if first[0].isdigit() else _days(first)
        times = [first, *rest] if first[0].isdigit() else rest
        spans = [_span(one) for one in times] or [(0, DAY_MINUTES)]
        windows += [(day * DAY_MINUTES + start, length) for day in days for start, length in spans]
    return Schedule(", ".join(" ".join(entry.split()) for entry in entries), tuple(windows))


def of_hours(hours: int) -> Schedule:
    """From the bits of a week, see `archipelag_contracts.week`: a window for each stretch of hours."""
    assert 0 < hours <= EVERY_HOUR
    if hours == EVERY_HOUR:
        return Schedule()

    def lent(hour: int) -> bool:
        return bool(hours >> hour % HOURS & 1)

    windows = []
    for start in range(HOURS):
        if lent(start) and not lent(start - 1):
            length = next(n for n in range(1, HOURS) if not lent(start + n))
            windows.append((start * 60, length * 60))
    said = [f"{_stamp(start)} to {_stamp(start + length)}" for start, length in windows]
    return Schedule(", ".join(said), tuple(windows))


def _stamp(minute: int) -> str:
    day, rest = divmod(minute % WEEK_MINUTES, DAY_MINUTES)
    return f"{DAYS[day]} {rest // 60:02d}:{rest % 60:02d}"


def _days(text: str) -> list[int]:
    """`mon`, `fri-mon`, `mon+wed+fri`."""
    found: list[int] = []
    for part in text.split("+"):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f"{text!r} is not a day or a range of days; {HOW}")
        start = DAYS.index(first)
        count = (DAYS.index(last) - start) % len(DAYS) + 1 if dash else 1
        found += [(start + step) % len(DAYS) for step in range(count)]
    return found


def _span(text: str) -> tuple[int, int]:
    """First minute of the day, and minutes: an end that is not after the start is on the next day."""
    match = _TIMES.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a span of times; {HOW}")
    from_hour, from_minute, to_hour, to_minute = (int(part) for part in match.groups())
    start, end = from_hour * 60 + from_minute, to_hour * 60 + to_minute
    if max(from_minute, to_minute) > 59 or start >= DAY_MINUTES or end > DAY_MINUTES:
        raise ValueError(f"{text!r} has a time that no clock shows; {HOW}")
    if start == end:
        raise ValueError(f"{text!r} begins when it ends; leave the times out for a whole day")
    return start, (end - start) % DAY_MINUTES or DAY_MINUTES


def _minute(local: datetime) -> int:
    return local.weekday() * DAY_MINUTES + local.hour * 60 + local.minute
