"""The chaos in a small form: Islands, a Coordinator, the store of the broker, broker and database, and the model, once
each with few streams. `make chaos` is the whole of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager

import pytest

from . import faults, scenarios
from .checkers import OUTAGE_CHECKS
from .faults import Log
from .network import MODEL, Hosts, Network, Plan, started
from .report import Outcome, show

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(150)]

SAY = print
"""Pytest keeps it for tests that fail."""
NAMES = ("kill Island", "freeze Island", "cut Island's line")
SMALL = Plan(hosts=(Hosts(4, slots=24),), policy={"attempts_max": "8"})


class Stage:
    """One network, and the loop that it lives on, for several tests."""

    def __init__(self, plan: Plan) -> None:
        self._runner = asyncio.Runner()
        self._life: AbstractAsyncContextManager[Network] = started(plan)
        self.network = self._runner.run(self._life.__aenter__())

    def play(self, scenario: Callable[[Network], Awaitable[Outcome]]) -> Outcome:
        """The outcome, once it is printed and every promise was kept."""

        async def whole() -> Outcome:
            await self.network.mend()
            return await scenario(self.network)

        outcome = self._runner.run(whole())
        SAY("\n".join(show(outcome)))
        if outcome.broken:
            self.network.keep = True
        assert not outcome.broken, f"{outcome.broken}; logs: {self.network.home}"
        return outcome

    def close(self) -> None:
        try:
            self._runner.run(self._life.__aexit__(None, None, None))
        finally:
            self._runner.close()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    one = Stage(SMALL)
    yield one
    one.close()


@pytest.fixture
def stage_of() -> Iterator[Callable[[Plan], Stage]]:
    made: list[Stage] = []

    def make(plan: Plan) -> Stage:
        made.append(Stage(plan))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_streams_survive_islands_that_are_killed_frozen_and_cut_off(stage: Stage) -> None:
    outcome = stage.play(
        lambda network: scenarios.islands_die(
            network, SAY, streams=60, at_once=20, items=(60, 120), names=NAMES
        )
    )

    assert outcome.strikes


def test_all_readers_of_a_killed_coordinator_end_at_the_other_with_the_right_bytes(
    stage: Stage,
) -> None:
    outcome = stage.play(
        lambda network: scenarios.coordinator_dies(
            network, SAY, streams=30, items=(60, 80), killed_after=15
        )
    )

    assert all(reading.breaks for reading in outcome.readings)
    assert all(len(reading.jobs) == 1 for reading in outcome.readings), "nothing was asked for anew"


def test_no_stream_is_lost_to_broker_and_database(stage: Stage) -> None:
    async def trouble(network: Network, log: Log) -> None:
        await faults.wipe_jetstream(network, log, 0, 0.5)
        await faults.lose_broker(network, log, 1.0)
        await faults.lose_postgres(network, log, 1.0)

    outcome = stage.play(
        lambda network: scenarios.under_load(
            "trouble",
            network,
            SAY,
            trouble,
            streams=60,
            at_once=20,
            items=(40, 120),
            after_s=1.0,
            checks=OUTAGE_CHECKS,
        )
    )

    assert len(outcome.strikes) == 3


@pytest.mark.real_model
def test_the_real_model_says_the_same_after_its_island_was_killed(
    stage_of: Callable[[Plan], Stage],
) -> None:
    plan = Plan(hosts=(Hosts(2, cargo=MODEL, slots=4),), policy={"attempts_max": "8"})

    stage_of(plan).play(
        lambda network: scenarios.models_die(network, SAY, streams=3, at_once=3, tokens=40)
    )
