"""Drain and resume on fakes: nothing more is taken, what runs finishes or is handed over in time."""

from __future__ import annotations

from typing import Any

import pytest
from archipelag_island.adapters import orders
from archipelag_island.domain.attempt import Cause, RefusalCode
from archipelag_island.services import drain, execute
from archipelag_island.testing.builders import a_key, an_assignment

Stage = Any


async def running(stage: Stage) -> None:
    await stage.warm()
    stage.start(drain.drain_for_ever(stage.world))
    stage.runtime.knobs.stall_at = 1
    execute.accept(stage.world, an_assignment(a_key(1)))
    await stage.until(stage.link.texts)


async def test_drain_refuses_from_the_instant_it_begins(stage: Stage) -> None:
    await running(stage)

    drain.begin(stage.world, 60)
    refused = execute.accept(stage.world, an_assignment(a_key(2)))

    assert refused is not None and refused.code is RefusalCode.DRAINING
    assert stage.world.slots_free == 0
    assert stage.world.beat_soon.is_set()


async def test_run_that_finishes_in_time_is_not_handed_over(stage: Stage) -> None:
    await stage.warm()
    stage.start(drain.drain_for_ever(stage.world))
    stage.runtime.knobs.item_s = 0.01
    execute.accept(stage.world, an_assignment())
    await stage.until(stage.link.texts)

    drain.begin(stage.world, 60)
    await stage.until(lambda: stage.link.delivered)

    assert stage.link.delivered_reports()[0].ending.cause is Cause.COMPLETED
    assert drain.progress(stage.world).handed_over == 0


async def test_what_still_runs_when_the_time_is_up_is_handed_over(stage: Stage) -> None:
    await running(stage)
    drain.begin(stage.world, 60)
    before = drain.progress(stage.world)

    stage.clock.seconds += 60
    stage.world.drain_changed.set()
    await stage.until(lambda: stage.link.delivered)

    report, after = stage.link.delivered_reports()[0], drain.progress(stage.world)
    assert (before.runs, before.left_s, before.handed_over) == (1, 60, 0)
    assert (report.ending.cause, report.next_position) == (Cause.ISLAND_STOPPED, 1)
    assert "drained" in report.ending.error
    assert (after.draining, after.runs, after.left_s, after.handed_over) == (True, 0, 0, 1)


async def test_second_drain_can_bring_the_end_forward(stage: Stage) -> None:
    await running(stage)

    drain.begin(stage.world, 3600)
    drain.begin(stage.world, 0)
    await stage.until(lambda: stage.link.delivered)

    assert drain.progress(stage.world).handed_over == 1


async def test_resumed_island_takes_work_and_hands_nothing_over(stage: Stage) -> None:
    await running(stage)
    drain.begin(stage.world, 60)

    was, again = drain.resume(stage.world), drain.resume(stage.world)
    stage.clock.seconds += 61
    stage.world.drain_changed.set()
    await stage.until(lambda: not stage.world.drain_changed.is_set())
    accepted = execute.accept(stage.world, an_assignment(a_key(2)))

    assert (was, again, accepted) == (True, False, None)
    assert drain.progress(stage.world).handed_over == 0
    assert [running.run.stop_with for running in stage.world.now.runs.values()] == [None, None]


async def test_new_epoch_here_ends_the_old_one_without_a_report(stage: Stage) -> None:
    await running(stage)
    stage.runtime.knobs.stall_at = None

    accepted = execute.accept(stage.world, an_assignment(a_key(1, epoch=2)))
    await stage.until(lambda: stage.link.delivered)
    await stage.until(lambda: not stage.world.now.runs)

    (report,) = stage.link.delivered_reports()
    assert accepted is None
    assert (report.key.epoch, report.ending.cause) == (2, Cause.COMPLETED)
    assert [held.key.epoch for held in stage.journal.all()] == [2]


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"op": "stop"},
        {"op": ["drain"]},
        {"op": "drain", "within_s": -1},
        {"op": "drain", "within_s": 1e9},
        {"op": "drain", "within_s": float("nan")},
        {"op": "drain", "within_s": True},
        {"op": "drain", "within_s": "60"},
    ],
)
async def test_order_that_makes_no_sense_changes_nothing(
    stage: Stage, wish: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"order|within_s"):
        orders.obey(stage.world, wish)

    assert not stage.world.now.draining


async def test_order_without_a_time_takes_the_owners_default(stage: Stage) -> None:
    await running(stage)

    far = orders.obey(stage.world, {"op": "drain"})

    assert far == {
        "draining": True, "runs": 1, "handed_over": 0, "left_s": 60.0, "undelivered": 0, "afar": False,
    }  # fmt: skip
    assert not orders.obey(stage.world, {"op": "resume"})["draining"]
