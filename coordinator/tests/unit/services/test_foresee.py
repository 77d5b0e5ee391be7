"""What a Coordinator learns of an Island's first items, by the jobs that it ran."""

from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.services.track import track
from archipelag_coordinator.testing.builders import an_offer
from archipelag_coordinator.testing.worlds import a_scene


async def test_an_island_that_boasts_gets_the_work_only_until_it_is_found_out() -> None:
    scene = await a_scene()
    boaster = await scene.island(offers=(an_offer(scene.cargo, first_item_ms=1.0),))
    honest = await scene.island(offers=(an_offer(scene.cargo, first_item_ms=400.0),))

    given = []
    for _ in range(20):
        job = await scene.running(request_hash=b"%d" % len(given))
        given.append(scene.bus.assigned[-1].island_id)
        scene.clock.advance(5.0 if given[-1] == boaster.id else 0.5)
        scene.stream(job, "a")
        scene.clock.advance(30)
        await track(scene.world, scene.report(job, "a"))

    assert given[0] == boaster.id
    assert given[-1] == honest.id


async def test_an_attempt_without_a_first_item_teaches_nothing() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    scene.clock.advance(9)

    await track(scene.world, scene.report(job, cause=Cause.CARGO_FAILED))

    (island,) = scene.world.fleet.candidates(scene.cargo.slug, scene.cargo.digest)
    assert island.first_item_factor == 1.0


async def test_why_tells_what_was_seen_beside_what_the_island_says() -> None:
    scene = await a_scene()
    await scene.island()
    for number in range(6):
        job = await scene.running(request_hash=b"%d" % number)
        scene.clock.advance(3)
        scene.stream(job, "a")
        await track(scene.world, scene.report(job, "a"))

    job = await scene.running(request_hash=b"the last")

    async with scene.store.begin() as tx:
        (attempt,) = await tx.attempts.of_job(job.id)
    assert "(by its own figures " in attempt.placement.why
