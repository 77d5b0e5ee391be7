"""Brings a change of the listing to everybody: this process, the signed document, Islands, and jobs that must end."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Final

from archipelag_contracts.ids import JobId

from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.cargo import CargoStatus
from archipelag_coordinator.domain.catalogue import Document, Listing, contents_of
from archipelag_coordinator.errors import CoordinatorError
from archipelag_coordinator.services import ending
from archipelag_coordinator.services.recall import recall
from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)

ENDED_AT_ONCE_MAX: Final = 500
SIDE_BY_SIDE_MAX: Final = 8
_WORDS: Final = {
    CargoStatus.REVOKED: (Cause.CARGO_REVOKED, "this Cargo was revoked: it must not run any more"),
    CargoStatus.WITHDRAWN: (Cause.CARGO_WITHDRAWN, "this Cargo was withdrawn: it is not offered"),
}


async def list_cargos(world: World) -> None:
    """After a change: what a loop does every second, at once."""
    await load_catalogue(world)
    await end_unlisted(world)


async def load_catalogue(world: World) -> None:
    """What is listed, and the newest document that says so; issued here where it is due."""
    held = world.catalogue.document
    async with world.store.begin() as tx:
        listed = await tx.cargos.listed()
        finishing = await tx.cargos.finishing()
        newer = await tx.cargos.newest_document(but=held.version if held else 0)
    document = newer or held
    if world.signer is not None:
        contents = contents_of([*listed, *finishing], world.registry, world.signer.public)
        due = document is None or document.is_due(
            contents, world.clock.now(), world.policy.catalogue_renew_s
        )
        if due:
            await issue_catalogue(world)
            return
    if newer is not None or tuple(listed) != world.catalogue.cargos:
        world.catalogue.load(listed, document)


async def issue_catalogue(world: World) -> Document:
    """The newest document, after issuing one where it is due. Several Coordinators agree: one at a time looks, and
    signs what it sees."""
    signer = world.signer
    assert signer is not None
    now = world.clock.now()
    fresh = False
    async with world.store.begin() as tx:
        await tx.cargos.wait_turn_to_issue()
        listed = tuple(await tx.cargos.listed())
        # Islands stop what is not named here at once; what is only withdrawn may finish.
        named = (*listed, *await tx.cargos.finishing())
        contents = contents_of(named, world.registry, signer.public)
        document = await tx.cargos.newest_document()
        if document is None or document.is_due(contents, now, world.policy.catalogue_renew_s):
            expires_at = now + timedelta(seconds=world.policy.catalogue_life_s)
            version = document.version + 1 if document else 1
            listing = Listing(version, now, expires_at, world.registry, named)
            document = Document(version, signer.seal(listing), contents, now, expires_at)
            await tx.cargos.issue(document)
            fresh = True
    world.catalogue.load(listed, document)
    if fresh:
        log.info("catalogue_issued version=%s cargos=%s", document.version, len(named))
        await world.bus.catalogue_changed(document.version)
    return document


async def end_unlisted(world: World) -> list[JobId]:
    """Fails this home's jobs whose Cargo may not run: they cost nothing, and Islands are told to stop."""
    async with world.store.begin() as tx:
        found = await tx.cargos.jobs_to_end(world.home, ENDED_AT_ONCE_MAX)
    room = asyncio.Semaphore(SIDE_BY_SIDE_MAX)

    async def one(job_id: JobId, status: CargoStatus) -> None:
        async with room:
            try:
                await end_job(world, job_id, status)
            except CoordinatorError as error:
                log.warning("unlisted_not_ended job=%s code=%s: %s", job_id, error.code, error)

    async with asyncio.TaskGroup() as group:
        for job_id, status in found:
            group.create_task(one(job_id, status))
    return [job_id for job_id, _ in found]


async def end_job(world: World, job_id: JobId, status: CargoStatus) -> None:
    """Because its Cargo is withdrawn or revoked. One that has ended meanwhile, or moved, is left alone."""
    cause, error = _WORDS[status]
    now = world.clock.now()
    async with world.store.begin() as tx:
        job = await tx.jobs.lock(job_id)
        if job is None or job.finished or job.home != world.home:
            return
        await recall(world, tx, job)
        attempt = await ending.current_attempt(tx, job)
        if attempt is None or attempt.finished:
            closed = await ending.fail(world, tx, job, cause=cause, error=error, now=now)
        elif cause is Cause.CARGO_WITHDRAWN:
            return  # Taken by an Island in the meantime: it may finish.
        else:
            closed = await ending.end_attempt(
                world, tx, job, attempt, cause=cause, reason=error, now=now
            )
    log.info("job_unlisted job=%s cause=%s", job_id, cause.value)
    await ending.announce(world, closed)
    if (ended := closed.attempt) is not None:
        await world.bus.cancel(ended.island_id, job_id, ended.epoch, error, issued_at=now)
