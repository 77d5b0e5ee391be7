"""Schedules: what a person writes, and when it is open by the clock on the wall."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from archipelag_island.domain.schedule import DAYS, Schedule, parse

# A week that begins on a Monday.
WEEK = {day: datetime(2026, 6, 1) + timedelta(days=number) for number, day in enumerate(DAYS)}  # noqa: DTZ001


def at(text: str) -> datetime:
    day, time = text.split()
    hour, minute = time.split(":")
    return WEEK[day] + timedelta(hours=int(hour), minutes=int(minute))


NIGHTS = "mon-fri 18:00-08:00, sat, sun"


@pytest.mark.parametrize(
    ("schedule", "when", "is_open"),
    [
        ("", "wed 12:00", True),
        (NIGHTS, "mon 07:59", False),
        (NIGHTS, "mon 17:59", False),
        (NIGHTS, "mon 18:00", True),
        (NIGHTS, "tue 00:00", True),
        (NIGHTS, "tue 07:59", True),
        (NIGHTS, "tue 08:00", False),
        (NIGHTS, "sat 07:00", True),
        (NIGHTS, "sat 12:00", True),
        (NIGHTS, "sun 23:59", True),
        # Sunday's night goes on where the week begins anew.
        ("sun 22:00-06:00", "mon 05:59", True),
        ("sun 22:00-06:00", "mon 06:00", False),
        ("sun 22:00-06:00", "sun 21:59", False),
        ("fri-mon", "sun 12:00", True),
        ("fri-mon", "mon 23:59", True),
        ("fri-mon", "tue 00:00", False),
        ("mon+wed 12:00-13:00", "wed 12:30", True),
        ("mon+wed 12:00-13:00", "tue 12:30", False),
        ("12:00-13:00", "thu 12:00", True),
        ("12:00-13:00", "thu 13:00", False),
        ("mon 06:00-07:00 20:00-24:00", "mon 23:59", True),
        ("mon 06:00-07:00 20:00-24:00", "tue 00:00", False),
        ("mon 00:00-24:00", "mon 00:00", True),
        ("MON-FRI  8:00-9:00", "tue 08:30", True),
    ],
)
def test_schedule_is_open(schedule: str, when: str, is_open: bool) -> None:
    assert parse(schedule).is_open(at(when)) is is_open


@pytest.mark.parametrize(
    ("schedule", "when", "opens"),
    [
        (NIGHTS, "mon 12:00", "mon 18:00"),
        (NIGHTS, "fri 08:00", "fri 18:00"),
        ("sun 22:00-06:00", "mon 06:00", "sun 22:00"),
        ("tue", "wed 00:00", "tue 00:00"),
    ],
)
def test_closed_schedule_says_when_it_opens(schedule: str, when: str, opens: str) -> None:
    assert parse(schedule).opens(at(when)) == opens


@pytest.mark.parametrize(
    "text",
    [
        "monday",
        "mon-",
        "-fri",
        "mon 18-08",
        "mon 18:00",
        "mon 25:00-26:00",
        "mon 24:00-01:00",
        "mon 10:60-11:00",
        "mon 08:00-08:00",
        "mon fri",
        "always",
        "mon 18:00-08:00 tue",
        ", ".join(["mon"] * 51),
    ],
)
def test_schedule_that_says_nothing_clear_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"entries|is not a|no clock|begins when"):
        parse(text)


def test_text_is_kept_tidied() -> None:
    assert parse(" Mon-Fri   18:00-08:00 ,SAT,,").text == "mon-fri 18:00-08:00, sat"
    assert parse(" , ") == Schedule()


def test_hour_that_the_clock_skips_or_shows_twice_opens_as_it_is_shown() -> None:
    berlin, night = ZoneInfo("Europe/Berlin"), parse("sun 02:00-03:00")
    utc = ZoneInfo("UTC")

    def open_minutes(first: datetime) -> int:
        looks = (first + timedelta(minutes=step) for step in range(6 * 60))
        return sum(night.is_open(look.astimezone(berlin)) for look in looks)

    spring = open_minutes(datetime(2026, 3, 28, 23, tzinfo=utc))
    summer = open_minutes(datetime(2026, 6, 27, 22, tzinfo=utc))
    autumn = open_minutes(datetime(2026, 10, 24, 22, tzinfo=utc))

    assert (spring, summer, autumn) == (0, 60, 120)
