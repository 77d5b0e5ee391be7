"""Several Coordinators on one database agree on the catalogue: each version is issued once, by whoever is first."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from archipelag_contracts.pb.archipelag.v1 import island_pb2 as pb
from archipelag_contracts.signing import SigningKey, open_sealed
from archipelag_coordinator.adapters.catalogue_signer import KeyCatalogueSigner
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.user import Role
from archipelag_coordinator.services import review
from archipelag_coordinator.services.list_cargos import list_cargos, load_catalogue
from archipelag_coordinator.testing.builders import a_submission, a_user
from archipelag_coordinator.testing.worlds import a_scene

KEY = SigningKey.generate()


async def test_coordinators_that_look_at_once_issue_one_version(store: PostgresStore) -> None:
    scene = await a_scene(store=store)
    worlds = [replace(scene.another(), signer=KeyCatalogueSigner(KEY)) for _ in range(6)]
    admin = a_user(role=Role.ADMIN)
    async with store.begin() as tx:
        await tx.users.add(admin)
        theirs = await tx.cargos.add(a_submission(scene.user, model=None))
        await tx.cargos.save(theirs.verify())

    await asyncio.gather(*(load_catalogue(world) for world in worlds))
    first = {world.catalogue.document.version for world in worlds if world.catalogue.document}
    await review.approve(worlds[0], admin, theirs.id, 1)
    await asyncio.gather(*(load_catalogue(world) for world in worlds))

    documents = {world.catalogue.document for world in worlds}
    assert first == {1}
    assert len(documents) == 1
    (document,) = documents
    assert document is not None and document.version == 2
    said = open_sealed(document.sealed, pb.Catalogue, {KEY.public})
    assert said.version == 2
    assert {(entry.trust, bool(entry.payload)) for entry in said.entries} == {
        (1, True),
        (3, False),
    }
    assert scene.bus.catalogue_changes == [1, 2]


async def test_revoked_cargos_jobs_end_on_postgres_too(store: PostgresStore) -> None:
    scene = await a_scene(store=store)
    scene = replace(scene, world=replace(scene.world, signer=KeyCatalogueSigner(KEY)))
    admin = a_user(role=Role.ADMIN)
    async with store.begin() as tx:
        await tx.users.add(admin)
    island = await scene.island(slots=1)
    running = await scene.running(request_hash=b"1")
    scene.stream(running, "one ")
    queued = await scene.submit(request_hash=b"2")
    before = await scene.balance()

    await review.revoke(scene.world, admin, scene.cargo.id, "steals")
    await list_cargos(scene.world)

    for job in (running, queued):
        after = await scene.job(job.id)
        assert (after.status, after.cause) == (JobStatus.FAILED, Cause.CARGO_REVOKED)
        assert after.charged == 0
    assert await scene.balance() == before + running.reserved + queued.reserved
    assert [one[0] for one in scene.bus.cancelled] == [island.id]
    async with store.begin() as tx:
        (row,) = await tx.usage.of_job(running.id)
    assert row.cause is Cause.CARGO_REVOKED
    assert scene.world.catalogue.cargos == ()
