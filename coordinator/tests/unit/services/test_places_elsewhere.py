"""Who was sent away by one Coordinator and comes back to another one: the place is found, by its owner, once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from archipelag_coordinator.apps.api.asking import make_job
from archipelag_coordinator.domain.forecast import Forecast
from archipelag_coordinator.domain.kept_places import GRACE_S
from archipelag_coordinator.domain.place_tokens import PlaceTokens
from archipelag_coordinator.errors import Overloaded
from archipelag_coordinator.services.asked import Submission
from archipelag_coordinator.services.expect import read_lines
from archipelag_coordinator.services.submit import Submitted
from archipelag_coordinator.services.world import World
from archipelag_coordinator.testing import builders
from archipelag_coordinator.testing.worlds import Scene, a_scene

SECRET = b"of all Coordinators of this network"
HELD_S = 10.0


@dataclass
class Pool:
    """Two Coordinators of one Island with two slots. Whoever comes now would wait 25 s here and there, where 20 are the
    most, and up to 25 are for whoever was promised a place."""

    scene: Scene
    here: World
    there: World
    back: Submission
    told: Overloaded

    @classmethod
    async def make(cls) -> Pool:
        scene = await a_scene()
        await scene.island(slots=2, offers=(builders.an_offer(scene.cargo, slots=2),))
        scene.world.forecast.slot_times.learn(scene.cargo.digest, HELD_S)
        here = replace(scene.world, place_tokens=PlaceTokens(SECRET))
        for n in range(6):
            await make_job(here, scene.submission(request_hash=b"%d" % n, interactive=False))
        forecast = Forecast()
        forecast.slot_times.learn(scene.cargo.digest, HELD_S)
        there = replace(scene.another(), forecast=forecast, place_tokens=PlaceTokens(SECRET))
        await read_lines(there)
        back = scene.submission(request_hash=b"back")
        told = await sent_away(here, back)
        return cls(scene, here, there, replace(back, place=told.place), told)

    def wait(self, seconds: float) -> None:
        self.scene.clock.advance(seconds)


async def sent_away(world: World, asked: Submission) -> Overloaded:
    with pytest.raises(Overloaded) as refused:
        await make_job(world, asked)
    return refused.value


async def taken(world: World, asked: Submission) -> Submitted:
    made = await make_job(world, asked)
    assert made.fresh
    return made


async def test_a_place_is_found_at_another_coordinator() -> None:
    pool = await Pool.make()
    pool.wait(pool.told.retry_after_s)

    await sent_away(pool.there, pool.scene.submission(request_hash=b"comes now"))
    await taken(pool.there, pool.back)


async def test_asking_early_elsewhere_is_told_the_same_time_and_keeps_the_place() -> None:
    pool = await Pool.make()
    pool.wait(1.0)

    again = await sent_away(pool.there, pool.back)

    assert again.retry_after_s == pytest.approx(pool.told.retry_after_s - 1.0, abs=0.01)
    assert again.place == pool.told.place
    assert len(pool.there.forecast.kept) == 0, "one place is enough"


async def test_a_place_that_was_stolen_or_is_for_another_request_is_none() -> None:
    pool = await Pool.make()
    pool.wait(pool.told.retry_after_s)
    thief, key, _ = await builders.a_customer(pool.scene.store)
    async with pool.scene.store.begin() as tx:
        lines = await tx.lines.all(10)
    # As many jobs of the thief's own wait, so that a place would matter.
    own = [replace(line, key=line.key._replace(user_id=thief.id)) for line in lines]
    pool.there.forecast.lines.load([*lines, *own])

    await sent_away(pool.there, replace(pool.back, user=thief, key=key))
    await sent_away(pool.there, replace(pool.back, request_hash=b"another"))


@pytest.mark.parametrize("forged", ["", "no", "18c0.AAAA", "1." + "A" * 43])
async def test_a_forged_place_is_none_and_is_not_handed_back(forged: str) -> None:
    pool = await Pool.make()
    pool.wait(pool.told.retry_after_s)

    refused = await sent_away(pool.there, replace(pool.back, place=forged))

    assert refused.place not in (None, forged)


async def test_a_place_is_over_when_its_grace_has_passed() -> None:
    pool = await Pool.make()
    pool.wait(pool.told.retry_after_s + GRACE_S + 0.1)

    await sent_away(pool.there, pool.back)


async def test_a_place_is_taken_once_here_and_once_there_and_not_again() -> None:
    pool = await Pool.make()
    pool.wait(pool.told.retry_after_s)

    await taken(pool.here, pool.back)
    await sent_away(pool.here, pool.back)
    await read_lines(pool.there)
    pool.there.forecast.lines.left(next(iter(pool.there.forecast.lines)).key)
    await taken(pool.there, pool.back)
    pool.there.forecast.lines.left(next(iter(pool.there.forecast.lines)).key)
    await sent_away(pool.there, pool.back)


async def test_who_asks_without_end_is_given_no_more_tokens_than_places() -> None:
    pool = await Pool.make()
    asked = [pool.scene.submission(request_hash=b"more %d" % n) for n in range(150)]

    given = [await sent_away(pool.here, one) for one in asked]

    assert sum(one.place is not None for one in given) == 99, "and one was given before"


async def test_without_a_shared_secret_a_place_is_this_process_own() -> None:
    pool = await Pool.make()
    alone = replace(pool.there, place_tokens=None)
    pool.wait(pool.told.retry_after_s)

    refused = await sent_away(alone, pool.back)

    assert refused.place is None
