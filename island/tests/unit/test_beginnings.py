"""What an Island says that its Cargos could begin from: only what was run there, only what is kept, and bounded."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from archipelag_contracts.errors import BadMessage
from archipelag_contracts.pb.archipelag.v1 import island_pb2
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as job
from archipelag_contracts.signing import SigningKey, open_sealed
from archipelag_island.adapters import codec
from archipelag_island.domain.beginnings import LOOK_AGAIN_S, PREFIXES_MAX, RUNS_MAX, Beginnings
from archipelag_island.domain.run import Run
from archipelag_island.runtime import RunEvent
from archipelag_island.services import announce, execute
from archipelag_island.services.announce import Voice
from archipelag_island.testing.builders import ISLAND, RELAY, a_key, an_assignment, an_input

from .test_services import reply

Stage = Any
SALT = b"s" * 32
KEY = SigningKey.from_seed(bytes(32))


def heard(*kept: str, **ended: tuple[int, ...]) -> Beginnings:
    made = Beginnings()
    for run_id, prefixes in ended.items():
        made.note_ended(run_id, prefixes)
    assert made.begin_asking(1.0)
    made.hear(kept, 1.0)
    return made


def test_each_kept_runs_longest_beginning_comes_first_the_newest_runs_before_all() -> None:
    made = heard("new", "old", old=(1, 2, 3), new=(1, 7), gone=(1, 9))

    assert made.announced() == [7, 3, 1, 2]


def test_runs_that_never_were_here_are_not_believed() -> None:
    claimed = [f"never{n}" for n in range(10_000)]

    assert heard(*claimed, "run", *claimed, "run", run=(4, 5)).announced() == [5, 4]
    assert not heard(*claimed, run=(4, 5)).want_asking(9 * LOOK_AGAIN_S), "nor asked about"


def test_no_more_is_remembered_or_announced_than_the_bounds() -> None:
    made = Beginnings()
    for n in range(RUNS_MAX + 50):
        made.note_ended(f"run{n}", tuple(range(n * 1000, n * 1000 + 500)))
    made.hear([f"run{n}" for n in range(RUNS_MAX + 50)], 0.0)

    told = made.announced()

    assert len(told) == len(set(told)) == PREFIXES_MAX
    assert told[0] == 50 * 1000 + 499, "the first ones were forgotten"
    assert len(made._ended) == RUNS_MAX and len(made._ended[f"run{RUNS_MAX}"]) == PREFIXES_MAX


def test_a_cargo_is_asked_after_an_end_and_while_it_keeps_something_and_by_one_at_once() -> None:
    made = Beginnings()
    made.note_ended("plain", ())
    assert not made.want_asking(0.0), "there is nothing to be told"

    made.note_ended("run", (1,))
    assert made.begin_asking(0.0) and not made.begin_asking(0.0)
    made.note_ended("plain", ())
    made.hear(["run"], 1.0)
    assert made.begin_asking(1.0), "a run ended meanwhile, in its place perhaps"
    made.hear(["run"], 2.0)

    assert not made.want_asking(1.0 + LOOK_AGAIN_S)
    assert made.begin_asking(2.0 + LOOK_AGAIN_S)
    made.hear([], 3.0 + LOOK_AGAIN_S)
    assert not made.want_asking(9 * LOOK_AGAIN_S) and made.announced() == []


async def run_here(stage: Stage, number: int, salt: bytes = SALT, **changes: Any) -> None:
    done = len(stage.link.delivered)
    changes = {"input": an_input("one two three"), "prefixes": (number, number + 1)} | changes
    refusal = execute.accept(stage.world, an_assignment(a_key(number), cache_salt=salt, **changes))
    assert refusal is None
    await stage.until(lambda: len(stage.link.delivered) > done)


def announced(stage: Stage) -> list[int]:
    return list(stage.world.now.offers["echo"].warm.beginnings.announced())


async def test_what_a_run_leaves_is_announced_with_the_next_heartbeat_and_no_earlier(
    stage: Stage,
) -> None:
    await stage.warm()
    stage.world.beat_soon.clear()

    await run_here(stage, 10)
    await run_here(stage, 20)
    await stage.until(lambda: announced(stage) == [21, 11, 20, 10])

    assert not stage.world.beat_soon.is_set()
    assert [chunk.cached_tokens for chunk in stage.link.chunks if chunk.prompt_tokens] == [0, 2]
    stage.link.answer = reply
    await announce.announce(stage.world, Voice(1), lambda _: None)
    said = open_sealed(
        codec.seal_beat(KEY, stage.link.beats[-1]), island_pb2.Heartbeat, {KEY.public}
    )
    assert list(said.cargos[0].prefixes) == [21, 11, 20, 10]


async def test_a_cargo_that_claims_what_it_never_ran_is_not_believed(stage: Stage) -> None:
    await stage.warm()
    stage.runtime.knobs.claims_kept = (
        *(f"{a_key(n)}" for n in range(500, 510)),
        "",
        f"{a_key(10)}",
    )

    await run_here(stage, 10)

    await stage.until(lambda: announced(stage) == [11, 10])


async def test_a_cargo_that_does_not_say_what_it_keeps_is_said_to_keep_nothing(
    stage: Stage,
) -> None:
    await stage.warm()
    await run_here(stage, 10)
    await stage.until(lambda: announced(stage) == [11, 10])
    asked = stage.runtime.asked
    stage.runtime.knobs.mute = True

    await run_here(stage, 20)

    await stage.until(lambda: announced(stage) == [])
    assert stage.runtime.asked == asked + 1, "once for a run, whatever it said"


async def test_with_the_cargo_goes_what_it_kept(stage: Stage) -> None:
    await stage.warm()
    await run_here(stage, 10)
    await stage.until(lambda: announced(stage) == [11, 10])
    before = stage.world.now.offers["echo"].warm

    stage.runtime.kill_all()
    await stage.until(lambda: stage.world.now.offers["echo"].warm not in (None, before))

    assert announced(stage) == []


async def test_what_was_given_up_with_time_is_announced_no_longer(stage: Stage) -> None:
    await stage.warm()
    await run_here(stage, 10)
    await stage.until(lambda: announced(stage) == [11, 10])

    stage.runtime.knobs.claims_kept = ("gone",)
    stage.clock.seconds += LOOK_AGAIN_S

    await stage.until(lambda: announced(stage) == [])


@pytest.mark.parametrize("keeps", [True, False])
async def test_an_owner_may_have_nothing_kept(stage: Stage, keeps: bool) -> None:
    stage.world.host = replace(stage.world.host, keep_prompts=keeps)
    await stage.warm()
    asked = stage.runtime.asked

    await run_here(stage, 10)
    await run_here(stage, 20, salt=b"")
    await asyncio.sleep(0)

    assert stage.runtime.salts == [SALT if keeps else b"", b""]
    if not keeps:
        assert announced(stage) == [] and stage.runtime.asked == asked


def test_a_cargo_cannot_have_kept_more_than_there_was_to_read() -> None:
    run = Run(an_assignment(), items_max=9, bytes_max=99, now=0.0, started_at_ms=0)
    run.take(RunEvent(prompt_tokens=7, cached_tokens=1 << 31), 1.0)
    run.take(RunEvent(0, ("a",)), 1.0)

    first = run.flush()
    run.take(RunEvent(1, ("b",)), 1.0)
    second = run.flush()

    assert first is not None and second is not None
    assert (first.prompt_tokens, first.cached_tokens) == (7, 7)
    assert job.Chunk.FromString(codec.chunk(first)).cached_tokens == 7
    assert second.cached_tokens == 0, "said once"


def sealed(**changes: Any) -> bytes:
    made = an_assignment()
    pb = job.Assignment(
        job_id=made.key.job_id,
        epoch=made.key.epoch,
        island_id=ISLAND,
        relay=RELAY,
        cargo_digest=made.cargo_digest,
        **changes,
    )
    return KEY.seal(pb)


def test_a_salt_is_refused_when_it_is_too_long_and_never_cut() -> None:
    assert codec.read_assignment(sealed(cache_salt=SALT), {KEY.public}).cache_salt == SALT
    for size in (33, 1 << 20):
        with pytest.raises(BadMessage, match=f"a salt of {size} bytes"):
            codec.read_assignment(sealed(cache_salt=b"s" * size), {KEY.public})


def test_of_too_many_beginnings_the_longest_count() -> None:
    told = codec.read_assignment(sealed(prefixes=range(10_000)), {KEY.public}).prefixes

    assert told == tuple(range(10_000 - PREFIXES_MAX, 10_000))
