"""Say at every interval that we are alive, what we offer and what we hold; the answer decides what we do next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from archipelag_contracts.errors import ContractError

from archipelag_island.clock import milliseconds
from archipelag_island.domain.backoff import beat_again_s
from archipelag_island.domain.beat import Beat, BeatReply, Held
from archipelag_island.domain.capability import Capabilities
from archipelag_island.errors import BrokerUnreachable, NoAnswer
from archipelag_island.services.world import World

log = logging.getLogger(__name__)

INTERVAL_MIN_S: Final = 0.2
INTERVAL_MAX_S: Final = 300.0
# Changes that come together make one heartbeat, and a Cargo that restarts in a circle makes no storm.
SOON_S: Final = 0.05
# What is revoked must stop within a second or two.
SPREAD_S: Final = 0.5


@dataclass
class Voice:
    """What must be remembered from one heartbeat to the next."""

    sequence: int
    """From the clock, so that it rises over restarts too."""
    told: Capabilities | None = None


async def announce_for_ever(world: World, obey: Callable[[BeatReply], None]) -> None:
    """`obey` does what an answer says."""
    voice = Voice(sequence=milliseconds(world.clock))
    unanswered = 0
    while True:
        world.beat_soon.clear()
        try:
            interval_s = world.now.interval_s = await announce(world, voice, obey)
            unanswered = 0
        except (BrokerUnreachable, NoAnswer, ContractError) as error:
            if world.now.connected:
                log.warning("heartbeat_not_answered error=%s", error)
            world.now.connected = False
            unanswered += 1
            interval_s = beat_again_s(unanswered, world.now.interval_s, world.chance)
        try:
            async with asyncio.timeout(interval_s):
                await world.beat_soon.wait()
            await asyncio.sleep(SOON_S)
        except TimeoutError:
            pass


async def announce(world: World, voice: Voice, obey: Callable[[BeatReply], None]) -> float:
    """One heartbeat; seconds to the next. Raises BrokerUnreachable, NoAnswer or a ContractError."""
    capabilities = world.capabilities()
    voice.sequence += 1
    beat = _beat(world, voice, capabilities)
    reply = await world.link.heartbeat(beat)
    _check(beat, reply)
    voice.told = capabilities
    if not world.now.connected:
        log.info("coordinator_answered island=%s", world.host.island_id)
    world.now.connected = True
    obey(reply)
    return min(INTERVAL_MAX_S, max(INTERVAL_MIN_S, reply.next_interval_ms / 1000))


def catalogue_changed(world: World, number: int) -> None:
    """A newer catalogue stands, so a heartbeat soon brings it. A fleet does not ask in the same instant."""
    held = world.now.document
    if held is not None and number <= held.version:
        return
    world.spawn(world.beat_within(SPREAD_S))


def _beat(world: World, voice: Voice, capabilities: Capabilities) -> Beat:
    return Beat(
        island_id=world.host.island_id,
        sequence=voice.sequence,
        boot_id=world.host.boot_id,
        offers=tuple(world.now.offers.values()),
        slots=world.host.slots,
        slots_free=world.slots_free,
        held=_held(world),
        # A pause looks like a drain from afar: nothing may be placed here.
        draining=not world.takes_work,
        catalogue_version=world.now.catalogue_version,
        broker_rtt_us=world.link.rtt_us(),
        load=world.load(),
        capabilities=None if capabilities == voice.told else capabilities,
        catalogue_number=world.now.document.version if world.now.document else 0,
        reads_documents=world.reads_documents,
        wishes_version=world.now.wishes.version,
    )


def _held(world: World) -> tuple[Held, ...]:
    held = []
    for remembered in world.journal.all():
        running = world.now.runs.get(remembered.key)
        position = running.run.next if running else remembered.next_position
        held.append(Held(remembered.key, running is None, position))
    return tuple(held)


def _check(beat: Beat, reply: BeatReply) -> None:
    """An answer to another heartbeat, or to another Island, is a replay."""
    if reply.island_id != beat.island_id or reply.sequence != beat.sequence:
        raise NoAnswer("the answer was to another heartbeat")
