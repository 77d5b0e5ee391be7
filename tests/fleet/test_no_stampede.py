"""Ten thousand Islands and their Coordinator's absence, in a model of nothing but who beats when."""

import heapq
from collections import Counter
from random import Random

import pytest
from archipelag_contracts.ids import IslandId
from archipelag_coordinator.domain.pacing import INTERVALS_MAX, next_beat_s
from archipelag_island.domain.backoff import beat_again_s

FLEET = 10_000
INTERVAL_S = 10.0
AWAY_AT_S = 25.0


def heard(away_s, until_s):
    """(second, Island) of each heartbeat that the Coordinator hears, from when it is back; and the longest silence."""
    chance = Random(7)
    ids = [IslandId(f"isl_{number}") for number in range(FLEET)]
    due = [(chance.uniform(0, INTERVAL_S), number) for number in range(FLEET)]
    heapq.heapify(due)
    unanswered, last, longest, beats = [0] * FLEET, [0.0] * FLEET, 0.0, []
    while due[0][0] < AWAY_AT_S + away_s + until_s:
        at, number = due[0]
        if AWAY_AT_S <= at < AWAY_AT_S + away_s:
            unanswered[number] += 1
            wait_s = beat_again_s(unanswered[number], INTERVAL_S, chance)
        else:
            unanswered[number] = 0
            longest, last[number] = max(longest, at - last[number]), at
            wait_s = next_beat_s(ids[number], at, INTERVAL_S)
            if at >= AWAY_AT_S + away_s:
                beats.append((int(at - AWAY_AT_S - away_s), number))
        heapq.heapreplace(due, (at + wait_s, number))
    return beats, longest


@pytest.mark.parametrize("away_s", [0.5, 1, 3, 5, 8, 10, 15, 60])
def test_coordinator_that_comes_back_hears_all_within_a_minute_and_never_more_than_twice_as_many(
    away_s,
):
    beats, longest_s = heard(away_s, 40)

    per_s = Counter(second for second, _ in beats)
    assert {number for second, number in beats if second < 15} == set(range(FLEET))
    assert max(per_s.values()) <= 2 * FLEET / INTERVAL_S
    later = [per_s[second] for second in range(25, 40)]
    assert max(later) <= 1.2 * FLEET / INTERVAL_S, "they drift apart again"
    assert longest_s <= INTERVALS_MAX * INTERVAL_S + away_s + INTERVAL_S


def test_an_island_that_keeps_its_moment_beats_once_an_interval():
    now, island = 1_000_000.0, IslandId("isl_x")
    waits = []
    for _ in range(5):
        waits.append(next_beat_s(island, now, INTERVAL_S))
        now += waits[-1] + 0.003  # On the way.

    assert INTERVAL_S / 2 <= waits[0] < INTERVALS_MAX * INTERVAL_S
    assert all(INTERVAL_S - 0.01 < wait <= INTERVAL_S for wait in waits[1:])
