"""Islands: joining, beating, being suspended."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from archipelag_contracts.ids import Epoch, IslandId, JobId, UserId
from archipelag_coordinator.domain.attempt import AttemptStatus, Cause
from archipelag_coordinator.domain.island import Beat, Island, IslandStatus
from archipelag_coordinator.errors import (
    Conflict,
    IllegalMove,
    InvalidInput,
    IslandRefused,
    NotFound,
    PairingRefused,
)
from archipelag_coordinator.services import upkeep
from archipelag_coordinator.services.enroll import enroll, renew
from archipelag_coordinator.services.heartbeat import HeldCatalogue, HeldNow, heartbeat
from archipelag_coordinator.services.keys import create_pairing_code
from archipelag_coordinator.services.suspend import (
    approve_island,
    restore_island,
    suspend_island,
)
from archipelag_coordinator.services.track import track
from archipelag_coordinator.testing.builders import an_id, an_offer
from archipelag_coordinator.testing.worlds import Scene, a_scene

KEY = b"k" * 32
OPERATOR = UserId(an_id("usr"))


def a_beat(scene: Scene, **changes: Any) -> Beat:
    given = Beat(
        sequence=1,
        boot_id="boot-2",
        offers=(an_offer(scene.cargo),),
        slots=4,
        draining=False,
        broker_rtt_ms=3.0,
        load=0.2,
        capabilities={"region": "nordic"},
    )
    return replace(given, **changes)


async def stored(scene: Scene, island_id: IslandId) -> Island:
    async with scene.store.begin() as tx:
        island = await tx.islands.get(island_id)
    assert island is not None
    return island


async def lease_of(scene: Scene, job: JobId) -> datetime:
    async with scene.store.begin() as tx:
        attempt = await tx.attempts.get(job, Epoch(1))
    assert attempt is not None
    return attempt.lease_until


async def test_a_pairing_code_ties_an_island_to_its_owner_once() -> None:
    scene = await a_scene()
    code = await create_pairing_code(scene.world, scene.owner)

    done = await enroll(
        scene.world,
        pairing_code=f" {code.code.lower()} ",
        public_key=KEY,
        name="  my   pc ",
        capabilities={"region": "eu"},
    )

    assert (done.island.owner_id, done.island.name, done.island.region) == (
        scene.owner.id,
        "my pc",
        "eu",
    )
    assert done.island.approved and done.island.status is IslandStatus.ENROLLED
    assert scene.broker.given[0][:2] == (KEY, done.island.id)
    with pytest.raises(PairingRefused):
        await enroll(
            scene.world, pairing_code=code.code, public_key=b"o" * 32, name="x", capabilities={}
        )


async def test_an_island_whose_reply_was_lost_enrols_again_and_stays_the_same() -> None:
    scene = await a_scene()
    code = await create_pairing_code(scene.world, scene.owner)
    ask = {"pairing_code": code.code, "public_key": KEY, "name": "pc", "capabilities": {}}

    first = await enroll(scene.world, **ask)
    second = await enroll(scene.world, **ask)

    assert first.island.id == second.island.id


@pytest.mark.parametrize("name", ["", "   ", "x" * 65, "tab\x07bell"])
async def test_a_name_must_be_readable(name: str) -> None:
    scene = await a_scene()
    code = await create_pairing_code(scene.world, scene.owner)

    with pytest.raises(InvalidInput):
        await enroll(
            scene.world, pairing_code=code.code, public_key=KEY, name=name, capabilities={}
        )


async def test_an_expired_code_is_refused() -> None:
    scene = await a_scene()
    code = await create_pairing_code(scene.world, scene.owner)
    scene.clock.advance(601)

    with pytest.raises(PairingRefused):
        await enroll(
            scene.world, pairing_code=code.code, public_key=KEY, name="pc", capabilities={}
        )


async def test_renewing_asks_for_proof_of_the_key_that_enrolled() -> None:
    scene = await a_scene()
    island = await scene.island()
    asked: list[bytes] = []

    renewed = await renew(scene.world, island.id, asked.append)

    assert asked == [island.public_key]
    assert renewed.island.id == island.id
    with pytest.raises(IslandRefused):
        await renew(scene.world, IslandId(an_id("isl")), asked.append)


async def test_a_beat_is_noted_for_placement_and_kept_for_saving() -> None:
    scene = await a_scene()
    island = await scene.island(status=IslandStatus.SILENT)

    answer = await heartbeat(scene.world, island.id, a_beat(scene), [])

    seen = scene.world.fleet.get(island.id)
    assert seen is not None and seen.status is IslandStatus.READY and seen.region == "nordic"
    assert [one.id for one in scene.world.fleet.take_beats()] == [island.id]
    assert scene.world.fleet.take_beats() == []
    assert answer.next_interval_ms in range(5_000, 15_000)
    assert answer.accepts_work and answer.notice == ""
    assert answer.catalogue == (scene.cargo,)
    assert scene.nudges, "waiting jobs may find an Island now"


NEWS: dict[str, dict[str, Any]] = {
    "a slot came free": {"slots": 5},
    "a Cargo became warm": {"offers": (an_offer(), an_offer(slug="other"))},
    "the drain is over": {"draining": False},
    "nothing": {},
    "only its speed": {"offers": (an_offer(items_per_s=51.0),), "load": 0.9},
}


@pytest.mark.parametrize("news", NEWS)
async def test_waiting_jobs_are_tried_again_only_where_a_beat_brings_news(news: str) -> None:
    scene = await a_scene()
    island = await scene.island()
    draining = news == "the drain is over"
    await heartbeat(scene.world, island.id, a_beat(scene, draining=draining), [])
    scene.nudges.clear()

    await heartbeat(scene.world, island.id, a_beat(scene, sequence=2, **NEWS[news]), [])

    assert bool(scene.nudges) == (news not in ("nothing", "only its speed"))


async def test_an_island_that_is_heard_again_after_a_doubt_is_news() -> None:
    scene = await a_scene()
    island = await scene.island()
    await heartbeat(scene.world, island.id, a_beat(scene), [])
    scene.world.fleet.doubt(island.id, scene.clock.now())
    scene.clock.advance(1)
    scene.nudges.clear()

    await heartbeat(scene.world, island.id, a_beat(scene, sequence=2), [])

    assert scene.nudges


async def test_an_island_with_the_newest_catalogue_is_not_sent_it_again() -> None:
    scene = await a_scene()
    island = await scene.island()

    version = scene.world.catalogue.version
    answer = await heartbeat(scene.world, island.id, a_beat(scene), [], HeldCatalogue(version))

    assert answer.catalogue is None


async def test_an_island_unknown_to_this_process_is_looked_up_and_one_unknown_to_all_is_not_found() -> (
    None
):
    scene = await a_scene()
    island = await scene.island()
    scene.world.fleet.forget(island.id)

    await heartbeat(scene.world, island.id, a_beat(scene), [])

    assert scene.world.fleet.get(island.id) is not None
    with pytest.raises(NotFound):
        await heartbeat(scene.world, IslandId(an_id("isl")), a_beat(scene), [])


async def test_held_attempts_keep_their_lease_and_the_rest_is_stopped_forgotten_or_asked_again() -> (
    None
):
    scene = await a_scene()
    island = await scene.island()
    runs, over, unsettled = [await scene.running() for _ in range(3)]
    await track(scene.world, scene.report(over, "x"))
    foreign = (JobId(an_id("job")), Epoch(1))
    held = [
        HeldNow((runs.id, Epoch(1)), reported=False, next_position=0),
        HeldNow(foreign, reported=False, next_position=0),
        HeldNow((over.id, Epoch(1)), reported=True, next_position=1),
        HeldNow((unsettled.id, Epoch(1)), reported=True, next_position=1),
    ]
    scene.clock.advance(30)

    answer = await heartbeat(scene.world, island.id, a_beat(scene), held)

    assert answer.stop == (foreign,)
    assert answer.forget == ((over.id, 1),)
    assert answer.resend == ((unsettled.id, 1),)
    async with scene.store.begin() as tx:
        attempt = await tx.attempts.get(runs.id, Epoch(1))
    assert attempt is not None and attempt.status is AttemptStatus.RUNNING
    assert (attempt.lease_until - scene.clock.now()).total_seconds() == 60


async def test_no_lease_lives_by_a_heartbeat_that_somebody_says_again() -> None:
    """Whoever is on the way, or another region's broker, could keep a job at an Island that is long gone."""
    scene = await a_scene()
    island = await scene.island()
    job = await scene.running()
    held = [HeldNow((job.id, Epoch(1)), reported=False, next_position=0)]
    earlier, recorded = a_beat(scene, sequence=8, boot_id="boot-1"), a_beat(scene, sequence=9)
    await heartbeat(scene.world, island.id, earlier, held)
    await heartbeat(scene.world, island.id, recorded, held)
    lease_until = await lease_of(scene, job.id)
    scene.clock.advance(30)

    for replayed in (recorded, earlier):
        with pytest.raises(Conflict):
            await heartbeat(scene.world, island.id, replayed, held)

    assert await lease_of(scene, job.id) == lease_until
    seen = scene.world.fleet.get(island.id)
    assert seen is not None and seen.boot_id == recorded.boot_id
    assert seen.seen_at == scene.clock.now() - timedelta(seconds=30)


async def test_a_draining_or_unapproved_island_is_told_that_it_gets_no_work() -> None:
    scene = await a_scene()
    draining = await scene.island()
    new = await scene.island(approved=False)

    first = await heartbeat(scene.world, draining.id, a_beat(scene, draining=True), [])
    second = await heartbeat(scene.world, new.id, a_beat(scene), [])
    approved = await approve_island(scene.world, OPERATOR, new.id)

    assert (first.accepts_work, first.notice) == (False, "draining: no new work")
    assert (second.accepts_work, second.notice) == (False, "awaiting approval by an operator")
    assert approved.approved


async def test_a_suspended_island_is_cut_off_and_told_to_stop_everything() -> None:
    scene = await a_scene()
    island = await scene.island()
    job = await scene.running()
    key = (job.id, Epoch(1))

    suspended = await suspend_island(scene.world, OPERATOR, island.id)
    answer = await heartbeat(
        scene.world, island.id, a_beat(scene), [HeldNow(key, reported=False, next_position=0)]
    )

    assert suspended.status is IslandStatus.SUSPENDED
    assert await upkeep.expired_leases(scene.world, 10) == [key]
    assert list(scene.broker.cut_off) == [island.public_key]
    assert (answer.accepts_work, answer.stop) == (False, (key,))
    with pytest.raises(IslandRefused):
        await renew(scene.world, island.id, lambda _: None)
    with pytest.raises(IllegalMove):
        await suspend_island(scene.world, OPERATOR, island.id)


async def test_a_restored_island_may_connect_again() -> None:
    scene = await a_scene()
    island = await scene.island()
    await suspend_island(scene.world, OPERATOR, island.id)

    restored = await restore_island(scene.world, OPERATOR, island.id)

    assert restored.status is IslandStatus.ENROLLED
    assert scene.broker.cut_off == {}
    await renew(scene.world, island.id, lambda _: None)


async def test_a_broker_that_cannot_be_told_does_not_undo_the_decision() -> None:
    scene = await a_scene()
    island = await scene.island()

    async def away(*_: object) -> None:
        raise ConnectionError("no broker")

    scene.broker.enforce = away  # type: ignore[method-assign, assignment]

    await suspend_island(scene.world, OPERATOR, island.id)

    assert (await stored(scene, island.id)).status is IslandStatus.SUSPENDED


async def test_suspending_what_is_not_there_is_not_found() -> None:
    scene = await a_scene()

    with pytest.raises(NotFound):
        await suspend_island(scene.world, OPERATOR, IslandId(an_id("isl")))


def test_only_what_the_host_caused_counts_against_it() -> None:
    from archipelag_coordinator.domain.attempt import HOST_CAUSES

    assert Cause.CANCELLED not in HOST_CAUSES and Cause.LEASE_LOST in HOST_CAUSES
