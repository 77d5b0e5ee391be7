"""What is drawn on the server: plots, the chart of the archipelago, and words for numbers."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta

import pytest
from archipelag_coordinator.apps.web import chart, plots, words
from archipelag_coordinator.domain.island import IslandStatus
from archipelag_coordinator.domain.sums import days_of
from archipelag_coordinator.testing.builders import a_job, a_user, an_island, an_offer
from archipelag_coordinator.testing.fakes import START

NUMBERS = re.compile(r"-?\d+\.?\d*")


def points(path: str) -> list[tuple[float, float]]:
    """Where a path goes through, its own marks left out."""
    values = [float(one) for one in NUMBERS.findall(path)]
    return list(zip(values[::2], values[1::2], strict=True))


def test_the_highest_bar_fills_the_plot_and_nothing_is_nothing() -> None:
    plot = plots.bars(
        [plots.Point("a", 0, "0"), plots.Point("b", 5, "5"), plots.Point("c", 10, "10")]
    )

    heights = [bar.height for bar in plot.bars]
    assert heights[0] == 0
    assert heights[1] == pytest.approx(heights[2] / 2, abs=0.1)
    assert plot.bars[2].y == pytest.approx(plots.HEAD)
    assert plot.top == "10" and not plot.empty


def test_little_is_seen_beside_much() -> None:
    plot = plots.bars([plots.Point("a", 1, "1"), plots.Point("b", 1_000_000, "1000000")])

    assert plot.bars[0].height == 2


def test_bars_stay_apart_and_within() -> None:
    plot = plots.bars([plots.Point(str(n), n, str(n)) for n in range(90)])

    for left, right in zip(plot.bars, plot.bars[1:], strict=False):
        assert left.x + left.width < right.x
    assert plot.bars[-1].x + plot.bars[-1].width <= plots.WIDTH
    assert len(plot.ticks) <= 6


def test_a_plot_of_nothing_is_empty() -> None:
    assert plots.bars([]).empty
    assert plots.bars([plots.Point("a", 0, "0")]).empty


def test_every_day_is_there_once() -> None:
    days = days_of(date(2028, 2, 27), date(2028, 3, 1), now=datetime(2028, 3, 1, tzinfo=UTC))

    plot = plots.by_day({"2028-02-29": 2_000_000, "2027-01-01": 9}, days)

    assert [(bar.label, bar.text) for bar in plot.bars] == [
        ("27 Feb", "0"),
        ("28 Feb", "0"),
        ("29 Feb", "2"),
        ("01 Mar", "0"),
    ]


def test_an_island_has_its_own_shore_each_time() -> None:
    assert chart.shore("isl_1", 30) == chart.shore("isl_1", 30)
    assert chart.shore("isl_1", 30) != chart.shore("isl_2", 30)
    for x, y in points(chart.shore("isl_1", 30)):
        assert 5 < math.hypot(x, y) < 60


def test_an_arc_tells_how_much() -> None:
    assert chart.arc(10, 0) == ""
    assert chart.arc(10, 0.25).endswith(" 10.0 0.0")
    assert " 0 1 1 " in chart.arc(10, 0.75)  # The long way round.
    assert " 0 0 1 " in chart.arc(10, 0.25)


def test_islands_of_a_region_lie_together_and_none_on_another() -> None:
    islands = [an_island(region=f"r{n % 4}", slots=16) for n in range(120)]

    drawn = chart.draw(islands)

    assert sorted(sea.name for sea in drawn.seas) == ["r0", "r1", "r2", "r3"]
    for sea in drawn.seas:
        assert len(sea.marks) == 30
        assert sea.x > sea.radius and sea.x + sea.radius < drawn.width
        for number, one in enumerate(sea.marks):
            for other in sea.marks[number + 1 :]:
                assert math.hypot(one.x - other.x, one.y - other.y) > 0.75 * (
                    one.radius + other.radius
                )


def test_one_region_leaves_the_middle_to_the_coordinator() -> None:
    (sea,) = chart.draw([an_island() for _ in range(5)]).seas

    assert sea.route == ""
    assert min(math.hypot(mark.x, mark.y) - mark.radius for mark in sea.marks) > 20


def test_a_large_fleet_is_counted_not_drawn_and_ones_own_come_first() -> None:
    ada = a_user()
    islands = [an_island() for _ in range(chart.DRAWN_MAX + 40)]
    islands.append(an_island(ada))

    drawn = chart.draw(islands, ada.id)

    marks = [mark for sea in drawn.seas for mark in sea.marks]
    assert len(marks) == chart.DRAWN_MAX
    assert drawn.left_out == 41
    assert [mark.mine for mark in marks].count(True) == 1


def test_only_islands_that_may_come_are_on_the_chart() -> None:
    islands = [an_island(status=status) for status in IslandStatus]

    drawn = [mark.state for sea in chart.draw(islands).seas for mark in sea.marks]

    assert sorted(drawn) == ["draining", "enrolled", "lost", "ready", "silent"]


def test_the_round_trip_told_is_the_median_of_those_who_are_here() -> None:
    here = [an_island(broker_rtt_ms=rtt) for rtt in (1.0, 7.0, 90.0)]
    away = an_island(broker_rtt_ms=500.0, status=IslandStatus.LOST)

    (sea,) = chart.draw([*here, away]).seas

    assert sea.rtt_ms == 7.0
    assert sea.online == 3


def test_an_island_that_tells_nonsense_is_drawn_all_the_same() -> None:
    wild = an_island(
        load=7.5, slots=0, region="", capabilities={"gpus": 3, "cores": "many", "runtimes": [None]}
    )

    (sea,) = chart.draw([wild]).seas

    assert sea.name == chart.NOWHERE
    assert sea.marks[0].load_percent == 100
    assert words.hardware(wild) == []


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0"),
        (1, "0.000001"),
        (-1_500_000, "−1.5"),
        (1_250_500_000, "1 250.5"),
        (1_234_567_000_000, "1 234 567"),
    ],
)
def test_credits_read_exactly(amount: int, text: str) -> None:
    assert words.credits_text(amount).replace("\N{NARROW NO-BREAK SPACE}", " ") == text


def test_money_at_a_glance_never_says_more_than_there_is() -> None:
    assert words.money(1_999_999) == "1.99"
    assert words.money(999) == "0.000999"
    assert words.credits_text(5, signed=True) == "+0.000005"


@pytest.mark.parametrize(
    ("past", "text"),
    [
        (1, "just now"),
        (59, "59 s ago"),
        (61, "1 min ago"),
        (3_700, "1 h ago"),
        (200_000, "2 d ago"),
        (-90, "in 1 min"),
    ],
)
def test_times_are_told_from_now(past: int, text: str) -> None:
    assert words.ago(START - timedelta(seconds=past), START) == text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            b'{"messages":[{"role":"user","content":"first"},{"role":"user","content":" second\\n line "}]}',
            "second line",
        ),
        (b'{"prompt":"a fox"}', "a fox"),
        (b'{"n":1,"file":"file_1"}', "file_1"),
        (b'{"n":1}', '{"n": 1}'),
        (b'{"messages":[{"role":"user","content":[{"type":"text"}]}]}', '[{"type": "text"}]'),
        (b'{"messages":[]}', '{"messages": []}'),
        (b"[1]", ""),
        (b"nonsense", ""),
    ],
)
def test_a_job_is_named_by_what_was_asked(given: bytes, text: str) -> None:
    assert words.snippet(given) == text


def test_a_long_question_is_cut() -> None:
    assert len(words.snippet(b'{"prompt":"%b"}' % (b"x" * 5_000))) == words.SNIPPET_MAX


def test_how_long_a_job_took_is_told_when_it_has_ended() -> None:
    assert words.took(a_job()) == "–"
    assert (
        words.took(a_job(started_at=START, ended_at=START + timedelta(seconds=75))) == "1 min 15 s"
    )


def test_offers_with_every_state_have_a_tone() -> None:
    for state in ("warm", "available", "loading", "failed", an_offer().state):
        assert words.tone(state) in ("good", "busy", "warn", "bad", "quiet")


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox 140 on Linux",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
            "Edge 141 on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/18.0 Mobile/15E148 Safari/604.1",
            "Safari 18 on iPhone",
        ),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/141.0.0.0 Mobile", "Chrome 141 on Android"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("x" * 400, "x" * 60),
        ("", "unknown browser"),
    ],
)
def test_a_browser_is_told_as_people_call_it(agent: str, told: str) -> None:
    assert words.browser(agent) == told
