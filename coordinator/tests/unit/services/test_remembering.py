"""A chat from turn to turn: what Islands are told of its beginnings, where it goes, and what is learnt of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from archipelag_contracts.ids import JobId
from archipelag_coordinator.domain.answer import Ending
from archipelag_coordinator.domain.attempt import Attempt, Cause
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.prefixes import Prefix, prefixes_of, salt_of
from archipelag_coordinator.services.dispatch import Given, dispatch, place_first
from archipelag_coordinator.services.failover import failover
from archipelag_coordinator.services.heartbeat import heartbeat
from archipelag_coordinator.services.ports import Assignment
from archipelag_coordinator.services.recall import make_home, recall
from archipelag_coordinator.services.submit import submit
from archipelag_coordinator.services.track import track
from archipelag_coordinator.services.watch import watch
from archipelag_coordinator.testing.builders import a_beat_of, a_customer, an_offer
from archipelag_coordinator.testing.worlds import PROMPT_SECRET, Scene, a_scene

FIRST = ("What is an island? " * 20,)
SECOND = (*FIRST, "Land with water around it.", "And an archipelago?")


def chat(*texts: str, **fields: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
    return {"messages": messages, "max_tokens": 8} | fields


async def ask(scene: Scene, *texts: str, fields: dict[str, Any] | None = None) -> Job:
    asked = chat(*texts, **fields or {})
    return await scene.running(input=asked, request_hash=repr(asked).encode())


def told(scene: Scene) -> Assignment:
    return scene.bus.assigned[-1]


async def beat(scene: Scene, island: Island, sequence: int, prefixes: Sequence[int] = ()) -> None:
    offer = an_offer(scene.cargo, prefixes=tuple(prefixes))
    said = replace(a_beat_of(island, sequence), offers=(offer,))
    await heartbeat(scene.world, island.id, said, ())


async def attempt_of(scene: Scene, job: Job) -> Attempt:
    async with scene.store.begin() as tx:
        return (await tx.attempts.of_job(job.id))[-1]


async def final(scene: Scene, job_id: JobId) -> Ending:
    reader = await watch(scene.world, job_id)
    ending = reader.final
    reader.close()
    assert ending is not None
    return ending


async def test_an_island_is_told_what_of_the_prompt_it_may_keep() -> None:
    scene = await a_scene()
    island = await scene.island()

    first = await ask(scene, *FIRST)
    begun = told(scene)
    await track(scene.world, scene.report(first, "a"))
    await ask(scene, *SECOND)
    went_on = told(scene)

    salt = salt_of(PROMPT_SECRET, scene.user.id, scene.cargo.digest, island.id)
    assert begun.cache_salt == went_on.cache_salt == salt
    assert len(begun.prefixes) == 1 and len(went_on.prefixes) == 3
    assert went_on.prefixes[0] == begun.prefixes[0]


async def test_who_says_no_has_nothing_kept_wherever_it_goes() -> None:
    scene = await a_scene()
    first, second = await scene.island(), await scene.island()
    for island in (first, second):
        await beat(scene, island, 1, [7])
    scene.bus.refuse(first.id, "the owner needs the machine")

    await ask(scene, *FIRST, fields={"cache_prompt": False})

    assert {(one.cache_salt, one.prefixes) for one in scene.bus.assigned} == {(b"", ())}
    assert len(scene.world.fleet._remembered) == 2, "what each said of itself"
    assert not scene.world.tally.begun_with


async def test_a_network_without_a_secret_has_nothing_kept() -> None:
    scene = await a_scene()
    await scene.island()
    world = replace(scene.world, prompt_secret=b"")

    await replace(scene, world=world).running()

    assert (told(scene).cache_salt, told(scene).prefixes) == (b"", ())


async def test_what_is_no_chat_has_nothing_kept() -> None:
    scene = await a_scene(kind="json", model=None, resumable=False)
    await scene.island()

    await scene.running(input={"text": "hello"})

    assert (told(scene).cache_salt, told(scene).prefixes) == (b"", ())


async def test_another_customer_with_the_same_words_is_told_apart() -> None:
    scene = await a_scene()
    await scene.island()
    await ask(scene, *FIRST)
    one = told(scene)
    user, key, _ = await a_customer(scene.store, 10**9)

    await replace(scene, user=user, key=key).running(input=chat(*FIRST), request_hash=b"another")

    assert told(scene).cache_salt != one.cache_salt
    assert not set(told(scene).prefixes) & set(one.prefixes)


async def test_the_next_turn_goes_to_the_island_that_says_it_holds_the_last_one() -> None:
    scene = await a_scene()
    islands = [await scene.island() for _ in range(6)]
    first = await ask(scene, *FIRST)
    held, holder = told(scene).prefixes, told(scene).island_id
    await track(scene.world, scene.report(first, "a"))
    for island in islands:
        await beat(scene, island, 1, held if island.id == holder else ())

    second = await ask(scene, *SECOND)

    assert told(scene).island_id == holder
    placed = (await attempt_of(scene, second)).placement
    assert placed.held_tokens == len(FIRST[0]) + 16
    assert f"remembers up to {placed.held_tokens} tokens of this conversation" in placed.why
    assert scene.world.tally.begun_with == {False: 1, True: 1}


async def test_a_turn_that_is_placed_as_it_is_stored_goes_to_who_remembers_too() -> None:
    scene = await a_scene()
    others = [await scene.island() for _ in range(6)]
    first = await ask(scene, *FIRST)
    await track(scene.world, scene.report(first, "a"))
    await beat(scene, others[3], 1, told(scene).prefixes)

    begun: list[Given | Job] = []

    def begin(job: Job, cargo: Cargo, prefixes: tuple[Prefix, ...]) -> Given | Job:
        begun.append(place_first(scene.world, job, cargo, prefixes))
        return begun[-1]

    await submit(scene.world, scene.submission(input=chat(*SECOND), request_hash=b"second"), begin)

    (given,) = begun
    assert isinstance(given, Given)
    assert given.attempt.island_id == others[3].id


async def test_a_coordinator_that_takes_a_job_over_gives_it_on_with_nothing_to_keep() -> None:
    scene = await a_scene()
    await scene.island()
    job = await ask(scene, *FIRST)
    other = scene.another()
    async with other.store.begin() as tx:
        locked = await tx.jobs.lock(job.id)
        assert locked is not None
        await recall(other, tx, await make_home(other, tx, locked))

    await failover(other, job.id, job.epoch, Cause.CARGO_DIED, "gone")
    await dispatch(other, job.id)

    assert len(scene.bus.assigned) == 2
    assert (told(scene).cache_salt, told(scene).prefixes) == (b"", ())


async def test_what_was_not_read_again_is_told_to_the_reader_and_counted() -> None:
    scene = await a_scene()
    await scene.island()
    job = await ask(scene, *FIRST)
    scene.stream(job, "a", prompt_tokens=90, cached_tokens=70)
    scene.stream(job, "b", prompt_tokens=90, cached_tokens=1)

    await track(scene.world, with_prompt(scene, job, 90, "a", "b"))

    assert (await final(scene, job.id)).cached_tokens == 70
    assert scene.world.tally.cached_tokens == {scene.cargo.slug: 70}


async def test_an_island_cannot_have_cached_more_than_there_was() -> None:
    scene = await a_scene()
    await scene.island()
    job = await ask(scene, *FIRST)
    scene.stream(job, "a", prompt_tokens=90, cached_tokens=10**9)

    await track(scene.world, with_prompt(scene, job, 60, "a"))

    ending = await final(scene, job.id)
    assert (ending.cached_tokens, ending.usage.prompt_tokens) == (60, 60)


async def test_an_answer_that_begins_anew_forgets_what_the_first_island_had_kept() -> None:
    scene = await a_scene(resumable=False)
    await scene.island()
    await scene.island()
    job = await ask(scene, *FIRST)
    scene.stream(job, "a", prompt_tokens=90, cached_tokens=70)
    await failover(scene.world, job.id, job.epoch, Cause.CARGO_DIED, "gone")

    again = await dispatch(scene.world, job.id)
    scene.stream(again, "a", prompt_tokens=0)
    await track(scene.world, with_prompt(scene, again, 90, "a"))

    assert (await final(scene, job.id)).cached_tokens == 0


async def test_an_island_that_had_kept_much_is_not_taken_to_be_quick_at_reading() -> None:
    factors = []
    for cached in (0, 95):
        scene = await a_scene()
        await scene.island()
        for number in range(10):
            job = await ask(scene, *FIRST, str(number))
            # 5 ms of way, 40 of the first step, and what is read of the prompt at 1,000 tokens a second.
            reads_ms = (100 - cached) / 100 * job.prompt_tokens_max
            scene.clock.advance((45 + reads_ms) / 1000)
            scene.stream(job, "a", prompt_tokens=100, cached_tokens=cached)
            await track(scene.world, with_prompt(scene, job, 100, "a"))
        (island,) = scene.world.fleet.candidates(scene.cargo.slug, scene.cargo.digest)
        factors.append(island.first_item_factor)

    assert all(0.95 < factor < 1.05 for factor in factors)


async def test_an_island_that_says_it_had_kept_it_and_is_slow_is_found_out() -> None:
    scene = await a_scene()
    await scene.island()
    for number in range(20):
        job = await ask(scene, *FIRST, str(number))
        scene.clock.advance(0.5)
        scene.stream(job, "a", prompt_tokens=100, cached_tokens=100)
        await track(scene.world, with_prompt(scene, job, 100, "a"))

    (island,) = scene.world.fleet.candidates(scene.cargo.slug, scene.cargo.digest)
    assert island.first_item_factor > 2.5


async def test_an_island_that_announces_all_and_keeps_nothing_soon_gains_nothing_by_it() -> None:
    scene = await a_scene()
    liar = await scene.island(offers=(an_offer(scene.cargo, first_item_ms=300.0),))
    honest = await scene.island()
    given = []
    for number in range(20):
        asked = (*FIRST, str(number))
        heard = replace(a_beat_of(liar, number + 1), offers=(all_of(scene, *asked),))
        await heartbeat(scene.world, liar.id, heard, ())
        job = await ask(scene, *asked)
        given.append(told(scene).island_id)
        scene.clock.advance(0.8 if given[-1] == liar.id else 0.5)
        scene.stream(job, "a", prompt_tokens=100)
        await track(scene.world, with_prompt(scene, job, 100, "a"))

    assert given[0] == liar.id
    assert set(given[-10:]) == {honest.id}


def all_of(scene: Scene, *texts: str) -> Any:
    """What only who has the secret can know: the liar has it of somebody that it works with."""
    found = prefixes_of(PROMPT_SECRET, scene.user.id, scene.cargo.digest, chat(*texts)["messages"])
    names = tuple(one.name for one in found)
    return an_offer(scene.cargo, first_item_ms=300.0, prefixes=names)


def with_prompt(scene: Scene, job: Job, prompt_tokens: int, *texts: str) -> Any:
    report = scene.report(job, *texts)
    return replace(report, usage=replace(report.usage, prompt_tokens=prompt_tokens))
