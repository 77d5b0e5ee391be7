"""Cargos that say nothing: given up, or started anew; and what of their time counts as a run's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from archipelag_island.domain.attempt import Cause
from archipelag_island.domain.offer import OfferState
from archipelag_island.services import execute, offer
from archipelag_island.testing.builders import a_key, an_assignment

Stage = Any


async def stalled(stage: Stage) -> None:
    """A run that ends since its Cargo makes no progress."""
    stage.runtime.knobs.stall_at = 1
    execute.accept(stage.world, an_assignment())
    await stage.until(stage.link.texts)
    stage.clock.seconds += 5.5
    await stage.until(lambda: stage.link.delivered)
    assert stage.link.delivered_reports()[0].ending.cause is Cause.CARGO_STALLED
    stage.runtime.knobs.stall_at = None


async def test_cargo_that_froze_is_started_anew_for_the_next_run(stage: Stage) -> None:
    await stage.warm()
    stage.runtime.knobs.mute = True

    await stalled(stage)
    await stage.until(lambda: stage.runtime.starts == 2)
    execute.accept(stage.world, an_assignment(a_key(2)))
    stage.runtime.knobs.mute = False
    await stage.until(lambda: len(stage.link.delivered) == 2)

    assert stage.link.delivered_reports()[1].ending.cause is Cause.COMPLETED


async def test_cargo_that_still_answers_stays(stage: Stage) -> None:
    before = await stage.warm()

    await stalled(stage)
    await stage.until(lambda: stage.world.now.offers["echo"].warm is not None)

    assert stage.runtime.starts == 1
    assert stage.world.now.offers["echo"] == before


@pytest.mark.parametrize(("silent_s", "given_up"), [(59.0, False), (61.0, True)])
async def test_cargo_that_never_answers_is_given_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, silent_s: float, given_up: bool
) -> None:
    monkeypatch.setattr(offer, "LOOK_S", 0.001)
    stage.runtime.knobs.mute = True
    stage.offer_echo()
    stage.start(offer.offer_for_ever(stage.world))
    await stage.until(lambda: stage.runtime.starts == 1)

    stage.clock.seconds += silent_s
    await asyncio.sleep(0.05)

    held = stage.world.now.offers["echo"]
    assert (held.state is OfferState.FAILED) is given_up
    assert ("opened its socket and said nothing for 61 s" in held.reason) is given_up


async def test_waiting_for_a_start_is_no_time_of_the_runs(stage: Stage) -> None:
    made = stage.offer_echo(seconds=10)
    stage.world.now.offers = {"echo": replace(made, startable=True)}

    asked = an_assignment(cargo_digest=made.digest)
    assert execute.accept(stage.world, asked) is None
    stage.clock.seconds += 30
    await asyncio.sleep(execute.KEEP_ALIVE_S + 0.1)
    await stage.warm(seconds=10)
    await stage.until(lambda: stage.link.delivered)

    assert stage.link.delivered_reports()[0].ending.cause is Cause.COMPLETED
