"""The last hour by the minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from archipelag_coordinator.domain.essentials import ESSENTIALS, Essential, Sample, Shows
from archipelag_coordinator.domain.history import MINUTES, History

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
COUNT, LEVEL = Sample("count"), Sample("level")
RISE = Essential("", "", Shows.RISE, COUNT)
MOST = Essential("", "", Shows.MOST, LEVEL, times=10)
LEAST = Essential("", "", Shows.LEAST, LEVEL)
MEAN = Essential("", "ms", Shows.MEAN, Sample("sum"), Sample("times"), times=1000)


def test_an_hour_is_kept_by_the_minute() -> None:
    history = History()
    for second in range(0, 3700, 20):
        at = NOON + timedelta(seconds=second)
        history.note(at, {COUNT: 5.0 * second, LEVEL: second % 60})

    minutes = history.minutes()

    assert len(minutes) == MINUTES
    assert minutes[-1].began_at == NOON + timedelta(minutes=61)
    assert {one.value(RISE) for one in minutes[:-1]} == {300}
    assert [one.value(MOST) for one in minutes[-2:]] == [400, 200]
    assert {one.value(LEAST) for one in minutes} == {0}


def test_what_a_count_was_before_it_was_first_read_is_no_rise() -> None:
    history = History()

    history.note(NOON, {COUNT: 1_000_000})
    history.note(NOON + timedelta(seconds=10), {COUNT: 1_000_003})

    assert [one.value(RISE) for one in history.minutes()] == [3]


def test_a_count_that_begins_anew_falls_by_nothing() -> None:
    history = History()
    for number, value in enumerate((7.0, 2.0, 6.0)):
        history.note(NOON + timedelta(minutes=number), {COUNT: value})

    assert [one.value(RISE) for one in history.minutes()] == [0, 0, 4]


def test_what_could_not_be_read_is_told_as_such_and_its_rise_is_not_lost() -> None:
    history = History()
    history.note(NOON, {COUNT: 1, LEVEL: 0})
    history.note(NOON + timedelta(minutes=1), {})
    history.note(NOON + timedelta(minutes=2), {COUNT: 5, LEVEL: 0})

    minutes = history.minutes()

    assert [one.value(RISE) for one in minutes] == [0, None, 4]
    assert [one.value(LEAST) for one in minutes] == [0, None, 0]


def test_a_minute_in_which_nothing_was_measured_has_no_mean() -> None:
    history = History()
    for number, (total, times) in enumerate(((0.5, 1), (3.5, 3), (3.5, 3))):
        read = {Sample("sum"): total, Sample("times"): times}
        history.note(NOON + timedelta(minutes=number), read)

    assert [one.value(MEAN) for one in history.minutes()] == [None, 1500, None]


@pytest.mark.parametrize("of", ESSENTIALS)
def test_every_plot_of_a_row_has_a_title_of_its_own_and_means_have_a_count(of: str) -> None:
    titles = [one.title for one in ESSENTIALS[of]]

    assert len(set(titles)) == len(titles)
    assert all((one.shows is Shows.MEAN) == (one.per is not None) for one in ESSENTIALS[of])
