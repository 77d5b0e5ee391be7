"""What Islands are told to fetch ahead."""

from __future__ import annotations

from dataclasses import replace

import pytest
from archipelag_coordinator.domain.demand import (
    WINDOW_S,
    Demand,
    rank,
    ready_counts,
    recommended,
)
from archipelag_coordinator.domain.island import IslandStatus
from archipelag_coordinator.services.heartbeat import heartbeat
from archipelag_coordinator.services.recommend import recommend
from archipelag_coordinator.testing.builders import a_beat_of, an_island, an_offer
from archipelag_coordinator.testing.worlds import a_scene


@pytest.mark.parametrize(
    ("asked", "ready", "ranked"),
    [
        ({}, {"a": 3}, ()),
        ({"a": 1}, {}, ("a",)),
        ({"a": 0}, {}, ()),
        ({"a": 10, "b": 10}, {"a": 9}, ("b", "a")),
        ({"a": 10, "b": 3}, {"a": 1}, ("a", "b")),
        ({"b": 5, "a": 5}, {}, ("a", "b")),
    ],
)
def test_most_wanted_is_what_is_asked_most_for_each_island_that_has_it(asked, ready, ranked):
    assert rank(asked, ready) == ranked


def test_only_working_islands_that_have_it_on_their_disk_count_as_ready():
    warm, loading, cold = (
        replace(an_offer(), slug=state, state=state) for state in ("warm", "loading", "available")
    )
    there = replace(cold, slug="startable", startable=True)
    islands = [
        an_island(offers=(warm, loading, cold, there)),
        an_island(offers=(warm,)),
        an_island(offers=(warm,), status=IslandStatus.SILENT),
    ]

    assert ready_counts(islands) == {"warm": 2, "loading": 1, "startable": 1}


def test_an_island_is_told_of_the_first_three_that_it_lacks():
    island = an_island(offers=(replace(an_offer(), slug="b"),))

    assert recommended(("a", "b", "c", "d", "e"), island) == ("a", "c", "d")


def test_demand_is_forgotten_after_a_while():
    demand = Demand()
    demand.asked("a", 0.0)
    demand.asked("a", 5.0)
    demand.asked("b", 100.0)

    assert demand.lately(100.0) == {"a": 2, "b": 1}
    assert demand.lately(WINDOW_S + 50.0) == {"b": 1}
    assert demand.lately(3 * WINDOW_S) == {}


async def test_heartbeat_answers_with_what_customers_ask_for():
    scene = await a_scene()
    island = await scene.island(offers=())
    await scene.submit()
    await recommend(scene.world)

    answer = await heartbeat(scene.world, island.id, a_beat_of(island, 1), [])

    assert answer.recommended == (scene.cargo.slug,)
