"""Keep the offered Cargos at hand: fetch them, start those that are wanted, watch them, end those that nobody uses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from archipelag_contracts.ids import CargoDigest

from archipelag_island.domain.attempt import Cause, Ending
from archipelag_island.domain.backoff import Backoff
from archipelag_island.domain.choice import Choice
from archipelag_island.domain.offer import Offer, Warm
from archipelag_island.domain.usage import Meter
from archipelag_island.errors import (
    ImageUnavailable,
    ModelUnavailable,
    NotReady,
    RuntimeFailed,
    StartFailed,
)
from archipelag_island.runtime import CargoSpec, CargoState, Description, Exit, Handle
from archipelag_island.services.ports import Unpacked
from archipelag_island.services.recollect import recollect_soon
from archipelag_island.services.room import NoRoom, memory_for
from archipelag_island.services.world import World

log = logging.getLogger(__name__)

STOP_GRACE_S: Final = 3.0
RETRY_FIRST_S: Final = 1.0
RETRY_MOST_S: Final = 60.0
# A Cargo that lived so long did not die of its start: begin again without a long wait.
HEALTHY_S: Final = 60.0
LOOK_S: Final = 0.1
MEMORY_LOOK_S: Final = 1.0
# Loading may take long, but "loading" is an answer, and due from the first moment.
SILENT_S: Final = 60.0
SMALL_BYTES: Final = 64 << 20
"""Images up to this size are fetched before anybody asks."""

EAGER_MB_MAX: Final = 256
"""A native engine that needs no more is kept warm."""

T = TypeVar("T")


class _Rested(Exception):
    """It was ended in peace and may be started again at any time; the message says why."""


async def offer_for_ever(world: World) -> None:
    """One task a Cargo; those that left the catalogue are stopped. Ends them all when cancelled."""
    keepers: dict[tuple[CargoDigest, Choice], asyncio.Task[None]] = {}
    gone: list[asyncio.Task[None]] = []
    try:
        while True:
            world.offers_changed.clear()
            wanted = {(offer.digest, offer.choice): offer for offer in world.now.offers.values()}
            world.images.keep([offer.manifest for offer in wanted.values()])
            gone = [keepers.pop(one) for one in set(keepers) - set(wanted)]
            # Ended first: the same Cargo may begin anew under other limits.
            await _end(gone)
            for one in wanted.keys() - keepers.keys():
                keepers[one] = asyncio.create_task(_keep(world, wanted[one].slug))
            await world.offers_changed.wait()
    finally:
        await _end([*gone, *keepers.values()])


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _keep(world: World, slug: str) -> None:
    backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S, world.chance)
    while True:
        began = world.clock.monotonic()
        offer = world.now.offers.get(slug)
        if offer is None:
            return
        try:
            reason = await _live_once(world, offer)
        except _Rested as rested:
            log.info("cargo_rests cargo=%s reason=%s", slug, rested)
            world.change_offer(offer, partial(Offer.rest, reason=str(rested)))
            backoff.reset()
            continue
        except NoRoom as error:
            # Nobody waits for it, or those who did are told; when somebody does, an idle one gives way.
            world.change_offer(offer, partial(Offer.rest, reason=str(error)))
            world.hold(offer.digest).give_up()
            await _wanted_or(world, offer, backoff.next_s())
            continue
        except (ModelUnavailable, ImageUnavailable, RuntimeFailed) as error:
            reason = str(error)
        except Exception:
            log.exception("cargo_keeper_broke cargo=%s", slug)
            reason = "an error of the Island's own; see its log"
        log.warning("cargo_down cargo=%s reason=%s", slug, reason)
        world.change_offer(offer, partial(Offer.fail, reason=reason))
        world.hold(offer.digest).give_up()
        if world.clock.monotonic() - began > HEALTHY_S:
            backoff.reset()
        await asyncio.sleep(backoff.next_s())


async def _live_once(world: World, offer: Offer) -> str:
    """From nothing to warm to its end; returns why it ended.

    Raises ModelUnavailable, ImageUnavailable, RuntimeFailed; _Rested when it was ended in peace.
    """
    if not _is_eager(world, offer) and not offer.startable and not _is_small(offer):
        world.change_offer(offer, lambda now: now.rest("not fetched; nobody asked for it yet"))
        await _recommended(world, offer)
    image, model = await _fetch(world, offer)
    world.change_offer(offer, Offer.prepared)
    if not _is_eager(world, offer):
        await world.hold(offer.digest).wanted.wait()
    await _until_owner_is_away(world, offer)
    async with memory_for(world, offer):
        return await _live(world, offer, image, model)


def _is_eager(world: World, offer: Offer) -> bool:
    """Started before anybody asks: chat must not keep a reader waiting, and a small engine costs little."""
    manifest = offer.manifest
    if manifest.kind == "chat" or world.host.keep_warm:
        return True
    small = manifest.model is None and manifest.needs.memory_mb <= EAGER_MB_MAX
    return offer.choice.runtime == "native" and manifest.image is None and small


def _is_small(offer: Offer) -> bool:
    image, model = offer.manifest.image, offer.manifest.model
    return model is None and (image is None or image.size_bytes <= SMALL_BYTES)


async def _recommended(world: World, offer: Offer) -> None:
    """Until the Coordinator says that it is in demand, or a run waits for it."""
    hold = world.hold(offer.digest)
    while offer.slug not in world.now.recommended and not hold.waiting:
        await world.offer_moves()


async def _wanted_or(world: World, offer: Offer, most_s: float) -> None:
    # Whoever waited is told first, and leaves.
    await asyncio.sleep(LOOK_S)
    try:
        async with asyncio.timeout(most_s):
            await world.hold(offer.digest).wanted.wait()
    except TimeoutError:
        pass


async def _until_owner_is_away(world: World, offer: Offer) -> None:
    """Nothing is fetched or loaded while the owner needs the machine."""
    told = ""
    while world.now.owner.paused:
        reason = f"waits, since the owner needs the machine: {world.now.owner.reason}"
        if reason != told:
            world.change_offer(offer, partial(Offer.load, what=reason))
            told = reason
        await asyncio.sleep(LOOK_S)


async def _fetch(world: World, offer: Offer) -> tuple[Unpacked, Path | None]:
    """Given up when a pause begins, since the line may be the very reason for it, and begun again after it."""
    manifest = offer.manifest

    def told(what: str) -> None:
        world.change_offer(offer, lambda now: now.load(what))

    image = Unpacked()
    if offer.choice.runtime != "native":
        image = await _unless_paused(
            world, offer, lambda: world.images.fetch(manifest, offer.publisher, told)
        )
    model: Path | None = None
    if manifest.model is not None:
        what = f"fetching {manifest.model.name}"
        # From an image too: weights are not in it, and an engine that is installed knows where to get them.
        engine = world.host.engines.get(manifest.engine, "")
        model = await _unless_paused(
            world, offer, lambda: world.models.fetch(engine, manifest), what
        )
    return image, model


async def _unless_paused(
    world: World, offer: Offer, fetch: Callable[[], Awaitable[T]], what: str = ""
) -> T:
    while True:
        await _until_owner_is_away(world, offer)
        if what:
            world.change_offer(offer, lambda now: now.load(what))
        fetching = asyncio.ensure_future(fetch())
        try:
            while not world.now.owner.paused:
                done, _ = await asyncio.wait([fetching], timeout=LOOK_S)
                if done:
                    return fetching.result()
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)


async def _live(world: World, offer: Offer, image: Unpacked, model: Path | None) -> str:
    world.change_offer(offer, lambda now: now.load("starting"))
    hold = world.hold(offer.digest)
    hold.give_way.clear()
    hold.stalled.clear()
    began = world.clock.monotonic()
    handle = await world.runtime.start(_spec(world, offer, image, model))
    try:
        description = await _until_ready(world, handle)
        start_ms = 1000 * (world.clock.monotonic() - began)
        warm = Warm(handle, description, Meter(world.runtime.usage(handle)))
        hold.used_at = world.clock.monotonic()
        world.change_offer(offer, lambda now: now.get_warm(warm, start_ms))
        log.info(
            "cargo_warm cargo=%s runtime=%s slots=%d start_ms=%.0f",
            offer.slug,
            offer.choice.runtime,
            description.slots,
            start_ms,
        )
        reason = await _until_ended(world, warm, offer)
        # Before it is cleared away, so that no run is given to it any more; so where it rests.
        world.change_offer(offer, partial(Offer.fail, reason=reason))
        return reason
    except _Rested:
        world.change_offer(offer, lambda now: now.rest("ending"))
        raise
    except asyncio.CancelledError:
        # Not the Cargo's death: somebody else can go on with what it ran.
        stopped = Ending(Cause.ISLAND_STOPPED, error=f"{offer.slug} was stopped on this Island")
        _stop_runs(world, offer, stopped)
        raise
    finally:
        await world.runtime.stop(handle, STOP_GRACE_S)


def _spec(world: World, offer: Offer, image: Unpacked, model: Path | None) -> CargoSpec:
    host, choice = world.host, offer.choice
    return CargoSpec(
        offer.manifest,
        offer.digest,
        choice.module,
        model,
        slots=host.slots,
        threads=max(1, min(host.threads, choice.tier.cpus)),
        cpus=host.cpus,
        runtime=choice.runtime,
        tier=choice.tier,
        root=image.root,
        command=image.command,
        environment=image.environment,
        working_dir=image.working_dir,
        wasm=image.wasm,
    )


async def _until_ready(world: World, handle: Handle) -> Description:
    """Loading may take long and says nothing of when; its process decides. Raises CargoDied or StartFailed."""
    heard = world.clock.monotonic()
    while True:
        try:
            description = await world.runtime.describe(handle)
        except NotReady:
            if (silent_s := world.clock.monotonic() - heard) > SILENT_S:
                raise StartFailed(
                    f"the Cargo opened its socket and said nothing for {silent_s:.0f} s"
                ) from None
        else:
            heard = world.clock.monotonic()
            if description.state is CargoState.READY:
                return description
            if description.state is CargoState.FAILED:
                raise StartFailed(description.error or "the Cargo says that it failed")
        await asyncio.sleep(LOOK_S)


async def _until_ended(world: World, warm: Warm, offer: Offer) -> str:
    """Waits for the Cargo's end, and ends one that takes far more memory than it said, that froze, or that nobody uses.

    Raises _Rested, CargoDied.
    """
    # Generous: page cache of mapped weights counts too, and needs are an estimate. Sandboxes have a hard limit beside.
    bytes_max = (2 * offer.manifest.needs.memory_mb + 512) << 20
    hold, handle = world.hold(offer.digest), warm.handle
    end = asyncio.create_task(world.runtime.wait(handle))
    give_way = asyncio.create_task(hold.give_way.wait())
    stalled = asyncio.create_task(hold.stalled.wait())
    try:
        while True:
            done, _ = await asyncio.wait(
                [end, give_way, stalled], timeout=MEMORY_LOOK_S, return_when=asyncio.FIRST_COMPLETED
            )
            if end in done:
                ended: Exit = end.result()
                return str(ended)
            if stalled in done:
                await _rest_if_frozen(world, handle, offer)
                hold.stalled.clear()
                stalled = asyncio.create_task(hold.stalled.wait())
            _rest_if_idle(world, offer)
            recollect_soon(world, warm)
            if give_way in done:
                hold.give_way.clear()
                give_way = asyncio.create_task(hold.give_way.wait())
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
        give_way.cancel()
        stalled.cancel()


async def _rest_if_frozen(world: World, handle: Handle, offer: Offer) -> None:
    """One that made no progress in a run may be well otherwise. Whoever comes meanwhile waits, lest it get no answer.

    Raises _Rested, CargoDied.
    """
    warm = world.now.offers[offer.slug].warm if offer.slug in world.now.offers else None
    world.change_offer(
        offer, partial(Offer.rest, reason="it made no progress in a run; asked again")
    )
    try:
        await world.runtime.describe(handle)
    except NotReady:
        frozen = "it froze and was ended; starts again when it is wanted"
        froze = Ending(Cause.CARGO_STALLED, error="the Cargo froze")
        _stop_runs(world, offer, froze, waiting_too=False)
        raise _Rested(frozen) from None
    if warm is not None:
        world.change_offer(offer, lambda now: now.get_warm(warm, now.start_ms))


def _rest_if_idle(world: World, offer: Offer) -> None:
    """Raises _Rested."""
    hold = world.hold(offer.digest)
    if world.uses(offer) or hold.waiting:
        return
    if hold.give_way.is_set():
        raise _Rested("made room for another Cargo; starts again when it is wanted")
    idle_s = world.clock.monotonic() - hold.used_at
    if not _is_eager(world, offer) and idle_s >= world.host.idle_s:
        raise _Rested(f"not used for {idle_s:.0f} s; starts again when it is wanted")


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


def _stop_runs(world: World, offer: Offer, ending: Ending, *, waiting_too: bool = True) -> None:
    for key, running in tuple(world.now.runs.items()):
        ours = running.run.assignment.cargo_digest == offer.digest
        if ours and (running.run.began is not None or waiting_too):
            world.stop_run(key, ending)
