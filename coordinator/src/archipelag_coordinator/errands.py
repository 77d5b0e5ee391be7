"""Short tasks that follow from what a process hears, and what it does last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from archipelag_contracts.ending import end_tasks
from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId

from archipelag_coordinator.adapters.nats.broker import NatsBroker
from archipelag_coordinator.adapters.nats.chunk_relay import NatsChunkRelay
from archipelag_coordinator.adapters.nats.island_bus import NatsIslandBus
from archipelag_coordinator.adapters.postgres.store import UNREACHABLE
from archipelag_coordinator.apps.islands.presence import Presence
from archipelag_coordinator.apps.loops.runner import Runner
from archipelag_coordinator.apps.loops.table import note_adopted
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.errors import CoordinatorError, StaleAttempt
from archipelag_coordinator.services import upkeep
from archipelag_coordinator.services.adopt import adopt_left
from archipelag_coordinator.services.cancel import cancel_here
from archipelag_coordinator.services.failover import failover
from archipelag_coordinator.services.follow import look
from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)

TURNS_S: Final = 2.0
"""How long the turns of loops are waited for that are under way when this process leaves."""
LOOKS_S: Final = (0.02, 0.03, 0.05, 0.1, 0.2)
"""Waits between looks for what another Coordinator is about to settle; after that, the loop does."""


class Errands:
    """Owns the short tasks that callbacks start."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(errand)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        await end_tasks(tuple(self._tasks))


async def look_after(
    world: World,
    runner: Runner,
    relay: NatsChunkRelay,
    bus: NatsIslandBus,
    broker: NatsBroker,
    stack: AsyncExitStack,
) -> None:
    """What follows from the end of an attempt, an Island's connection or another Coordinator, until the stack ends."""
    errands = Errands()
    stack.push_async_callback(errands.close)
    presence = Presence(world)
    stack.push_async_callback(presence.close)
    await broker.listen_presence(presence.gone, presence.back, presence.unsure)
    await bus.listen_left(lambda was, place: errands.run(take_left(runner, world, was, place)))
    relay.on_wrong = lambda job, island, epoch: errands.run(end_wrong(world, job, island, epoch))
    relay.on_end = lambda job, _island, _epoch: errands.run(look_soon(world, job))


async def cancel_handed(world: World, job_id: JobId, reason: str) -> bool:
    """A customer cancelled it at another Coordinator, which checked that it is theirs."""
    return (await cancel_here(world, job_id, reason)).finished


async def look_soon(world: World, job_id: JobId) -> None:
    """An attempt has said its last word: whoever reads a copy of it here is told as soon as its home has settled it."""
    answer = world.answers.get(job_id)
    if answer is None or not answer.follows:
        return
    for wait_s in LOOKS_S:
        await asyncio.sleep(wait_s)
        with suppress(*UNREACHABLE):
            if await look(world, job_id):
                return


async def end_wrong(world: World, job_id: JobId, island: IslandId, epoch: Epoch) -> None:
    """An attempt whose output broke the protocol is ended at once."""
    answer = world.answers.get(job_id)
    said = answer.attempt_end if answer else None
    cause = said.cause if said else Cause.BAD_OUTPUT
    reason = (said.error if said else "") or "the Island's output broke the protocol"
    log.warning("output_wrong job=%s island=%s epoch=%s: %s", job_id, island, epoch, reason)
    try:
        await failover(world, job_id, epoch, cause, reason)
    except StaleAttempt:
        pass
    except CoordinatorError:
        log.exception("failover_failed job=%s", job_id)


async def leave(runner: Runner, world: World) -> None:
    """Others go on with what is relayed here, at once; a store that is away has them find out by themselves."""
    await runner.leave(TURNS_S)
    with suppress(*UNREACHABLE):
        await upkeep.hand_on(world)


async def take_left(runner: Runner, world: World, was: RelayId, place: int | None) -> None:
    """What another one leaves behind."""
    if runner.leaving:
        return
    with suppress(*UNREACHABLE):  # The loops find it, later.
        note_adopted(await adopt_left(world, was, place))
