"""Keep every offered Cargo warm: fetch its weights, start it, watch it, start it again when it dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from archipelag_contracts.ids import CargoDigest

from archipelag_island.domain.attempt import Cause, Ending
from archipelag_island.domain.backoff import Backoff
from archipelag_island.domain.caps import memory_refusal
from archipelag_island.domain.offer import Offer, Warm
from archipelag_island.domain.usage import Meter
from archipelag_island.errors import ModelUnavailable, NotReady, RuntimeFailed, StartFailed
from archipelag_island.runtime import CargoSpec, CargoState, Description, Exit, Handle
from archipelag_island.services.world import World

log = logging.getLogger(__name__)

STOP_GRACE_S: Final = 3.0
RETRY_FIRST_S: Final = 1.0
RETRY_MOST_S: Final = 60.0
# A Cargo that lived so long did not die of its start: begin again without a long wait.
HEALTHY_S: Final = 60.0
LOOK_S: Final = 0.1
MEMORY_LOOK_S: Final = 1.0


async def offer_for_ever(world: World) -> None:
    """One task a Cargo; those that left the catalogue are stopped. Ends them all when cancelled."""
    keepers: dict[CargoDigest, asyncio.Task[None]] = {}
    try:
        while True:
            world.offers_changed.clear()
            wanted = {offer.digest: offer for offer in world.now.offers.values()}
            gone = [keepers.pop(digest) for digest in set(keepers) - set(wanted)]
            for digest in wanted.keys() - keepers.keys():
                keepers[digest] = asyncio.create_task(_keep_warm(world, wanted[digest]))
            await _end(gone)
            await world.offers_changed.wait()
    finally:
        await _end(list(keepers.values()))


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_warm(world: World, offer: Offer) -> None:
    backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S, world.chance)
    while True:
        began = world.clock.monotonic()
        try:
            reason = await _live_once(world, offer)
        except (ModelUnavailable, RuntimeFailed) as error:
            reason = str(error)
        except Exception:
            log.exception("cargo_keeper_broke cargo=%s", offer.slug)
            reason = "an error of the Island's own; see its log"
        log.warning("cargo_down cargo=%s reason=%s", offer.slug, reason)
        world.set_offer(offer.fail(reason))
        if world.clock.monotonic() - began > HEALTHY_S:
            backoff.reset()
        await asyncio.sleep(backoff.next_s())


async def _live_once(world: World, offer: Offer) -> str:
    """From nothing to warm to its end; returns why it ended. Raises ModelUnavailable or RuntimeFailed."""
    module = world.engine_of(offer.manifest)
    assert module is not None
    with _memory_for(world, offer):
        model = await _fetch(world, offer, module)
        await _until_owner_is_away(world, offer)
        return await _live(world, offer, module, model)


@contextmanager
def _memory_for(world: World, offer: Offer) -> Iterator[None]:
    """Claims what the Cargo needs, before anybody waits. Raises StartFailed when there is not so much."""
    needed = offer.manifest.needs.memory_mb << 20
    if needed > world.host.memory_bytes:
        have = world.host.memory_bytes >> 20
        raise StartFailed(f"needs {offer.manifest.needs.memory_mb} MB of memory; there are {have}")
    claims = world.now.memory_claims
    needed = max(needed, world.now.appetites.get(offer.digest, 0))
    if refusal := memory_refusal(world.host.caps, sum(claims.values()), needed):
        raise StartFailed(refusal)
    claims[offer.digest] = needed
    try:
        yield
    finally:
        del claims[offer.digest]


async def _until_owner_is_away(world: World, offer: Offer) -> None:
    """Nothing is fetched or loaded while the owner needs the machine."""
    told = ""
    while world.now.owner.paused:
        reason = f"waits, since the owner needs the machine: {world.now.owner.reason}"
        if reason != told:
            world.set_offer(offer.load(reason))
            told = reason
        await asyncio.sleep(LOOK_S)


async def _fetch(world: World, offer: Offer, module: str) -> Path | None:
    """Given up when a pause begins, since the line may be the very reason for it, and begun again after it."""
    if offer.manifest.model is None:
        return None
    while True:
        await _until_owner_is_away(world, offer)
        world.set_offer(offer.load(f"fetching {offer.manifest.model.name}"))
        fetching = asyncio.create_task(world.models.fetch(module, offer.manifest))
        try:
            while not world.now.owner.paused:
                done, _ = await asyncio.wait([fetching], timeout=LOOK_S)
                if done:
                    return fetching.result()
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)


async def _live(world: World, offer: Offer, module: str, model: Path | None) -> str:
    world.set_offer(offer.load("starting"))
    host = world.host
    spec = CargoSpec(
        offer.manifest, offer.digest, module, model, host.slots, host.threads, host.cpus
    )
    handle = await world.runtime.start(spec)
    try:
        description = await _until_ready(world, handle)
        warm = Warm(handle, description, Meter(world.runtime.usage(handle).cpu_ms))
        world.set_offer(offer.get_warm(warm))
        log.info("cargo_warm cargo=%s slots=%d", offer.slug, description.slots)
        return await _until_ended(world, handle, offer)
    except asyncio.CancelledError:
        # Not the Cargo's death: somebody else can go on with what it ran.
        stopped = Ending(Cause.ISLAND_STOPPED, error=f"{offer.slug} was stopped on this Island")
        _stop_runs(world, offer, stopped)
        raise
    finally:
        await world.runtime.stop(handle, STOP_GRACE_S)


async def _until_ready(world: World, handle: Handle) -> Description:
    """Loading may take long and says nothing of when; its process decides. Raises CargoDied or StartFailed."""
    while True:
        try:
            description = await world.runtime.describe(handle)
        except NotReady:
            pass
        else:
            if description.state is CargoState.READY:
                return description
            if description.state is CargoState.FAILED:
                raise StartFailed(description.error or "the Cargo says that it failed")
        await asyncio.sleep(LOOK_S)


async def _until_ended(world: World, handle: Handle, offer: Offer) -> str:
    """Waits for the Cargo's end, and ends one that takes far more memory than it said."""
    # Generous: page cache of mapped weights counts too, and needs are an estimate.
    bytes_max = (2 * offer.manifest.needs.memory_mb + 512) << 20
    end = asyncio.create_task(world.runtime.wait(handle))
    try:
        while True:
            done, _ = await asyncio.wait([end], timeout=MEMORY_LOOK_S)
            if done:
                ended: Exit = end.result()
                return str(ended)
            used = world.runtime.usage(handle).memory_bytes
            if used > bytes_max:
                over = f"used {used >> 20} MB of memory, far more than its manifest says"
                _stop_runs(world, offer, Ending(Cause.LIMIT_EXCEEDED, error=f"the Cargo {over}"))
                return over
            if over_cap := _over_cap(world, offer, used):
                world.now.appetites[offer.digest] = used
                _stop_runs(world, offer, Ending(Cause.ISLAND_STOPPED, error=over_cap))
                return over_cap
    finally:
        end.cancel()


def _over_cap(world: World, offer: Offer, used_bytes: int) -> str | None:
    """Why this Cargo has to go: all together take more than the owner lends, and it is furthest over its claim."""
    cap = world.host.caps.memory_bytes
    used = {o.digest: world.memory_of(o) for o in world.now.offers.values() if o.warm}
    total = sum(used.values())
    if not cap or total <= cap or offer.digest not in used:
        return None
    claims = world.now.memory_claims
    worst = max(used, key=lambda digest: (used[digest] - claims.get(digest, 0), digest))
    if worst != offer.digest:
        return None
    return (
        f"took {used_bytes >> 20} MB of memory; all Cargos together took {total >> 20} of the "
        f"{cap >> 20} MB that the owner lends"
    )


def _stop_runs(world: World, offer: Offer, ending: Ending) -> None:
    for key, running in tuple(world.now.runs.items()):
        if running.run.assignment.cargo_digest == offer.digest:
            world.stop_run(key, ending)
