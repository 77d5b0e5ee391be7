"""Hears an Island and answers: what it may keep, what it must stop, what it may forget. The answer wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from archipelag_contracts.ids import IslandId

from archipelag_coordinator.domain.attempt import AttemptKey
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.catalogue import Document
from archipelag_coordinator.domain.demand import recommended
from archipelag_coordinator.domain.island import Beat, Island, IslandStatus
from archipelag_coordinator.domain.pacing import next_beat_s
from archipelag_coordinator.domain.wishes import Wishes
from archipelag_coordinator.errors import Conflict, IslandRefused, NotFound
from archipelag_coordinator.services.world import World


@dataclass(frozen=True)
class HeldNow:
    """An attempt that an Island says it holds. `reported`: it has ended there and its report was sent."""

    key: AttemptKey
    reported: bool
    next_position: int


@dataclass(frozen=True)
class BeatAnswer:
    next_interval_ms: int
    stop: tuple[AttemptKey, ...]
    forget: tuple[AttemptKey, ...]
    resend: tuple[AttemptKey, ...]
    accepts_work: bool
    notice: str
    catalogue_version: str
    catalogue: tuple[Cargo, ...] | None
    """None: the Island has the newest already, or reads documents."""
    document: Document | None = None
    """The newest signed catalogue, for an Island that reads such and holds another."""
    wishes: Wishes | None = None
    """Its owner's, for an Island that takes orders and goes by older ones."""
    recommended: tuple[str, ...] = ()
    """Slugs worth fetching ahead."""


@dataclass(frozen=True)
class HeldCatalogue:
    """What an Island says of the catalogue that it holds."""

    version: str = ""
    number: int = 0
    reads_documents: bool = False


NO_CATALOGUE: Final = HeldCatalogue()


async def heartbeat(
    world: World,
    island_id: IslandId,
    beat: Beat,
    held: Sequence[HeldNow],
    holds: HeldCatalogue = NO_CATALOGUE,
    wishes_version: int = 0,
) -> BeatAnswer:
    """Notes the sign of life in the fleet (saved with others once a second) and extends the leases it holds.

    Raises NotFound for an Island that is not known, Conflict for a heartbeat that somebody says again: no lease and no
    Island lives by it.
    """
    before = world.fleet.get(island_id) or await _stored(world, island_id)
    try:
        heard = before.beat(beat, world.clock.now())
    except IslandRefused as refused:
        return _dismiss(world, held, str(refused))
    if heard is before:
        raise Conflict("this heartbeat was heard before, or a newer one was")
    island = _placed(world, heard)
    room = world.fleet.room(island_id)
    world.fleet.saw(island, [one.key for one in held if not one.reported])
    stop, forget, resend = await _reconcile(world, island_id, held)
    # Of ten thousand Islands a thousand beat each second, and most of them have no news for who waits.
    if world.fleet.room(island_id) > room or _ready(island) != _ready(before):
        world.nudge()
    listed, document = _news(world, holds)
    return BeatAnswer(
        next_interval_ms=_next_ms(world, island_id),
        stop=stop,
        forget=forget,
        resend=resend,
        accepts_work=island.accepts_work,
        notice=_notice(island),
        catalogue_version=world.catalogue.version,
        catalogue=listed,
        document=document,
        wishes=_wishes(island, wishes_version),
        recommended=recommended(world.demand.ranked, island),
    )


def _wishes(island: Island, version: int) -> Wishes | None:
    return island.wishes if island.takes_orders and island.wishes.version > version else None


def _ready(island: Island) -> list[tuple[str, str, str, bool]]:
    return [(o.slug, o.digest, o.state, o.startable) for o in island.offers]


def _next_ms(world: World, island_id: IslandId) -> int:
    interval_s = world.policy.heartbeat_interval_s(len(world.fleet))
    return round(1000 * next_beat_s(island_id, world.clock.now().timestamp(), interval_s))


def _news(world: World, holds: HeldCatalogue) -> tuple[tuple[Cargo, ...] | None, Document | None]:
    """Entries in the old way, or the document; neither where the Island has the newest."""
    document = world.catalogue.document
    if holds.reads_documents and document is not None:
        return None, None if holds.number >= document.version else document
    same = holds.version == world.catalogue.version
    return (None if same else world.catalogue.cargos), None


def _placed(world: World, island: Island) -> Island:
    """One that does not say where it stands is taken to stand where it is heard: each region hears its own first."""
    region = str(island.capabilities.get("region", "")) or world.region
    return replace(island, region=region) if region and region != island.region else island


async def _stored(world: World, island_id: IslandId) -> Island:
    async with world.store.begin() as tx:
        island = await tx.islands.get(island_id)
    if island is None:
        raise NotFound("island", island_id)
    return island


async def _reconcile(
    world: World, island_id: IslandId, held: Sequence[HeldNow]
) -> tuple[tuple[AttemptKey, ...], tuple[AttemptKey, ...], tuple[AttemptKey, ...]]:
    """(stop, forget, resend): both sides say what they believe, and what PostgreSQL says wins."""
    if not held:
        return (), (), ()
    now = world.clock.now()
    running = [one.key for one in held if not one.reported]
    reported = [one.key for one in held if one.reported]
    async with world.store.begin() as tx:
        lease_until = now + timedelta(seconds=world.policy.lease_for_s(len(world.fleet)))
        # Also of what has ended there: until its report is settled, nobody else shall begin it anew.
        kept = await tx.attempts.extend(island_id, [*running, *reported], now, lease_until)
        settled = await tx.attempts.finished(island_id, reported) if reported else set()
        if settled:
            tx.rely()  # The Island forgets for good what it is told to forget.
    return (
        tuple(key for key in running if key not in kept),
        tuple(key for key in reported if key in settled),
        tuple(key for key in reported if key not in settled),
    )


def _dismiss(world: World, held: Sequence[HeldNow], notice: str) -> BeatAnswer:
    """To an Island that may not be here: stop everything."""
    return BeatAnswer(
        next_interval_ms=int(1000 * world.policy.heartbeat_s),
        stop=tuple(one.key for one in held if not one.reported),
        forget=(),
        resend=(),
        accepts_work=False,
        notice=notice,
        catalogue_version="",
        catalogue=None,
    )


def _notice(island: Island) -> str:
    if not island.approved:
        return "awaiting approval by an operator"
    if island.wishes.draining:
        return "drained by its owner's order on its page: no new work"
    if island.status is IslandStatus.DRAINING:
        return "draining: no new work"
    return ""
