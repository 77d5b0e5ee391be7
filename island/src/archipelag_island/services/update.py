"""Self-update: believe the newest release, take it in one's turn, drain, try it, and stay with what works."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from archipelag_contracts import releases
from archipelag_contracts.errors import ContractError
from archipelag_contracts.releases import File

from archipelag_island.domain import update
from archipelag_island.domain.update import Consent, Stage
from archipelag_island.errors import BadRelease, ReleaseUnavailable, UpdateUnproven
from archipelag_island.services import drain
from archipelag_island.services.ports_of_updates import Releases, Software
from archipelag_island.services.world import World

log = logging.getLogger(__name__)

LOOK_S: Final = 3600.0
PROVE_S: Final = 240.0
"""Less than the launcher lets pass before it ends a trial."""
STEP_S: Final = 0.5


@dataclass(frozen=True)
class Updates:
    """What stays the same while the agent runs."""

    releases: Releases
    software: Software
    public_key: bytes
    """DER, of those who release the software; laid here by whoever installed it."""
    platform: str
    consent: Consent
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def update_for_ever(world: World, updates: Updates, *, on_trial: bool) -> None:
    """Ends when the agent is to end, so that the next start tries another file. Raises UpdateUnproven."""
    if on_trial:
        await prove(world, updates)
    while True:
        try:
            file = await look(world, updates)
            if file is not None and await change(world, updates, file):
                return
        except (BadRelease, ContractError, ReleaseUnavailable) as error:
            log.warning("update_left_out error=%s", error)
        await updates.sleep(LOOK_S * world.chance.uniform(0.8, 1.2))


async def look(world: World, updates: Updates) -> File | None:
    """The file to change to, which lies here by then. Raises BadRelease, ReleaseUnavailable or a ContractError."""
    document, signature = await updates.releases.newest()
    release = releases.opened(document, signature, updates.public_key)
    software, now = updates.software, int(world.clock.now().timestamp())
    update.judge(release, highest=software.highest(), now=now)
    software.note(release.number)
    file = update.choose(
        release,
        software.laid(),
        updates.consent,
        island=world.host.island_id,
        platform=updates.platform,
        now=now,
    )
    if file is not None and file.digest not in software.laid().files:
        log.info("update_fetching release=%d version=%s", release.number, release.version)
        async with aclosing(updates.releases.file(file)) as chunks:
            await software.lay(file, chunks)
    return file


async def change(world: World, updates: Updates, file: File) -> bool:
    """Drains, and arms once nothing runs. False: the owner took the drain back, or had ordered one of their own."""
    if world.now.draining:
        return False
    drain.begin(world, world.host.drain_s)
    while world.now.runs:
        await updates.sleep(STEP_S)
        if not world.now.draining:
            return False
    updates.software.arm(file.digest)
    log.info("update_armed digest=%s", file.digest)
    return True


async def prove(world: World, updates: Updates) -> None:
    """Confirms once a Coordinator answers this Island's heartbeats. Raises UpdateUnproven where none does in time."""
    if updates.software.laid().stage is not Stage.TRYING:
        return
    until = world.clock.monotonic() + PROVE_S
    while not world.now.connected:
        if world.clock.monotonic() >= until:
            raise UpdateUnproven(
                f"no Coordinator answered this version within {PROVE_S:g} s: the one before goes on"
            )
        await updates.sleep(STEP_S)
    updates.software.confirm()
    log.info("update_confirmed digest=%s", updates.software.laid().current)
