"""A real agent on a real broker goes by a signed catalogue, and hears at once when a Cargo is revoked."""

from __future__ import annotations

import asyncio
from typing import Any

from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.testing.builders import an_assignment, an_input, the_echo_manifest

Coordinator = Any
StartAgent = Any

BEATS_MS = 300_000
"""So rarely that whatever happens soon was told, and not asked for."""


async def test_revoked_cargo_is_stopped_within_seconds(
    coordinator: Coordinator, start_agent: StartAgent
) -> None:
    coordinator.interval_ms = BEATS_MS
    start_agent.enrolled(catalogue=True)
    await coordinator.issue(1, [the_echo_manifest()])
    agent = start_agent()
    await coordinator.until_warm()
    reply = await coordinator.assign(
        an_assignment(input=an_input("again", items=4000, delay_ms=20))
    )
    assert reply.accepted, reply
    await coordinator.until(coordinator.texts, "an item")

    await coordinator.issue(2, [])
    async with asyncio.timeout(PATIENCE_S):
        await coordinator.until(lambda: coordinator.reports, "the end of its run")
        await coordinator.until(lambda: not coordinator.beats[-1].cargos, "an empty offer")
        # Its process has ended, and with it what it claimed.
        world = agent.agent.world
        while True:
            if not world.now.memory_claims:
                break
            await asyncio.sleep(0.05)

    assert coordinator.reports[0].cause == common.CAUSE_ISLAND_STOPPED
    assert coordinator.beats[-1].catalogue_number in (1, 2)
    await agent.stop()


async def test_older_catalogue_is_refused_by_a_restarted_agent(
    coordinator: Coordinator, start_agent: StartAgent
) -> None:
    start_agent.enrolled(catalogue=True)
    await coordinator.issue(5, [])
    first = start_agent()
    await coordinator.until(
        lambda: coordinator.beats and coordinator.beats[-1].catalogue_number == 5, "version 5"
    )
    await first.stop()
    (start_agent.home / "catalogue.signed").unlink()

    await coordinator.issue(4, [the_echo_manifest()])
    seen = len(coordinator.beats)
    second = start_agent()
    await coordinator.until(lambda: len(coordinator.beats) >= seen + 2, "two heartbeats")

    world = second.agent.world
    assert world is not None and world.now.offers == {}
    assert "older than 5" in world.now.notice
    assert [beat.catalogue_number for beat in coordinator.beats[seen:]] == [0] * (
        len(coordinator.beats) - seen
    )
