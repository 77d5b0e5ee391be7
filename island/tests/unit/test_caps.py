"""Caps: what is refused, what is ended, and what is sent late instead of never."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts.manifest import Model
from archipelag_island.adapters import models as models_module
from archipelag_island.adapters.models import FetchedModels
from archipelag_island.adapters.probe import cpu
from archipelag_island.domain.attempt import Cause, RefusalCode
from archipelag_island.domain.caps import Bucket, Caps, Taken, disk_refusal, memory_refusal
from archipelag_island.domain.offer import Offer, OfferState
from archipelag_island.errors import ModelUnavailable
from archipelag_island.services import execute, measure, offer
from archipelag_island.testing.builders import a_key, an_assignment, an_input, the_echo_manifest

Stage = Any
MB = 1 << 20


def test_bucket_without_a_cap_never_waits() -> None:
    bucket = Bucket()
    bucket.spend(10**12, 0.0)

    assert bucket.wait_s(0.0) == 0.0
    assert bucket.sent_bytes == 10**12


def test_bucket_lets_a_second_go_and_then_waits_for_what_is_owed() -> None:
    bucket = Bucket(1000)
    bucket.wait_s(0.0)
    bucket.spend(1000, 0.0)
    full_is_gone = bucket.wait_s(0.0)
    bucket.spend(500, 0.0)

    assert full_is_gone == 0.0
    assert bucket.wait_s(0.0) == 0.5
    assert bucket.wait_s(0.25) == 0.25
    assert bucket.wait_s(0.5) == 0.0


def test_bucket_saves_up_a_second_at_most_and_a_clock_that_goes_back_adds_nothing() -> None:
    bucket = Bucket(1000)
    bucket.spend(1000, 0.0)
    bucket.wait_s(3600.0)
    bucket.spend(2000, 3600.0)

    assert bucket.wait_s(3600.0) == 1.0
    assert bucket.wait_s(10.0) == 1.0


def test_bucket_keeps_to_its_rate_over_time() -> None:
    bucket, now = Bucket(10_000), 0.0
    for size in [300, 9_000, 1, 40_000, 2_500] * 20:
        now += bucket.wait_s(now)
        bucket.spend(size, now)

    assert bucket.sent_bytes <= 10_000 * (now + 1) + 40_000


@pytest.mark.parametrize(
    ("cap", "claimed", "needed", "refused"),
    [(0, 10**12, 10**12, False), (512, 0, 512, False), (512, 1, 512, True), (512, 600, 1, True)],
)
def test_memory_that_is_left_of_the_cap(cap: int, claimed: int, needed: int, refused: bool) -> None:
    said = memory_refusal(Caps(memory_bytes=cap * MB), claimed * MB, needed * MB)

    assert bool(said) is refused


def test_disk_that_is_left_of_the_cap() -> None:
    caps = Caps(disk_bytes=100 * MB)

    assert disk_refusal(Caps(), 10**15, 10**15) is None
    assert disk_refusal(caps, 60 * MB, 40 * MB) is None
    assert "ISLAND_DISK_MB_MAX" in str(disk_refusal(caps, 60 * MB, 41 * MB))


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="needs Linux: elsewhere nobody is bound"
)
def test_cargos_get_the_last_processors_and_all_of_them_without_a_cap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2, 5, 7})

    assert [cpu.lent(cap) for cap in (0, 1, 3, 4, 99)] == [(), (7,), (2, 5, 7), (), ()]


def capped(stage: Stage, **caps: Any) -> None:
    stage.world.host = replace(stage.world.host, caps=Caps(**caps))


def offer_two(stage: Stage) -> None:
    manifests = [the_echo_manifest(), the_echo_manifest(slug="second")]
    stage.world.now.offers = {m.slug: Offer(m, m.digest) for m in manifests}
    stage.start(offer.offer_for_ever(stage.world))


def states(stage: Stage) -> list[OfferState]:
    return sorted(o.state for o in stage.world.now.offers.values())


async def test_cargo_beyond_the_memory_that_is_left_is_not_started_and_says_why(
    stage: Stage,
) -> None:
    capped(stage, memory_bytes=200 * MB)
    offer_two(stage)
    await stage.until(lambda: states(stage) == [OfferState.AVAILABLE, OfferState.WARM])

    (cold,) = [o for o in stage.world.now.offers.values() if o.warm is None]

    assert cold.reason == (
        "needs 128 MB of memory; 72 MB are left of the 200 MB that the owner lends"
    )
    assert stage.runtime.starts == 1


async def test_memory_of_a_cargo_that_ended_is_free_again(stage: Stage) -> None:
    capped(stage, memory_bytes=200 * MB)
    offer_two(stage)
    await stage.until(lambda: states(stage) == [OfferState.AVAILABLE, OfferState.WARM])
    (warm,) = [o for o in stage.world.now.offers.values() if o.warm]

    del stage.world.now.offers[warm.slug]
    stage.world.offers_changed.set()
    await stage.until(lambda: states(stage) == [OfferState.WARM])

    assert sum(stage.world.now.memory_claims.values()) == 128 * MB


async def test_cargo_furthest_over_its_claim_goes_when_all_take_more_than_the_cap(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offer, "MEMORY_LOOK_S", 0.001)
    capped(stage, memory_bytes=300 * MB)
    offer_two(stage)
    await stage.until(lambda: states(stage) == [OfferState.WARM] * 2)
    stage.runtime.knobs.stall_at = 1
    execute.accept(stage.world, an_assignment())
    await stage.until(stage.link.texts)
    offers = dict(stage.world.now.offers)
    for slug, taken in (("second", 120), ("echo", 200)):
        cargo = stage.runtime._cargos[offers[slug].warm.handle.id]
        cargo.used = replace(cargo.used, memory_bytes=taken * MB)

    stage.start(stage_deliver(stage))
    await stage.until(lambda: stage.world.now.offers["echo"].state is OfferState.FAILED)
    await stage.until(lambda: stage.link.delivered)

    (report,) = stage.link.delivered_reports()
    assert (report.ending.cause, report.next_position) == (Cause.ISLAND_STOPPED, 1)
    assert "took 200 MB" in stage.world.now.offers["echo"].reason
    assert stage.world.now.offers["second"].warm is not None
    assert stage.world.now.appetites == {offers["echo"].digest: 200 * MB}


def stage_deliver(stage: Stage) -> Any:
    from archipelag_island.services.deliver import deliver_for_ever

    return deliver_for_ever(stage.world)


async def test_cargo_that_took_too_much_needs_as_much_at_its_next_start(stage: Stage) -> None:
    capped(stage, memory_bytes=300 * MB)
    made = stage.offer_echo()
    stage.world.now.appetites[made.digest] = 301 * MB
    stage.start(offer.offer_for_ever(stage.world))

    await stage.until(lambda: stage.world.now.offers["echo"].state is OfferState.FAILED)

    assert "needs 301 MB" in stage.world.now.offers["echo"].reason


async def made_to_wait(stage: Stage) -> int:
    """A run that said six items and stands still, the cap used up after the first; how many were sent."""
    stage.world.bucket = Bucket(1000)
    await stage.warm()
    stage.runtime.knobs.item_s, stage.runtime.knobs.stall_at = 0.005, 6
    execute.accept(stage.world, an_assignment(input=an_input("a b c d e f g h")))
    await stage.until(stage.link.texts)
    stage.world.bucket.spend(2010, stage.clock.monotonic())
    await stage.until(lambda: stage.world.now.runs[a_key()].run.next == 6)
    return len(stage.link.texts())


async def test_output_over_the_cap_comes_late_in_one_larger_chunk(stage: Stage) -> None:
    sent = await made_to_wait(stage)

    stage.clock.seconds += 2
    await stage.until(lambda: len(stage.link.texts()) > sent)

    assert 1 <= sent < 6
    assert stage.link.texts() == ["a ", "b ", "c ", "d ", "e ", "f "]
    assert len(stage.link.chunks[-1].texts) == 6 - sent
    assert stage.link.keep_alives >= 1, "a run that waits for the cap is not silent"


async def test_run_that_ends_while_its_output_waits_loses_none(stage: Stage) -> None:
    sent = await made_to_wait(stage)

    stage.world.hand_over("enough")
    await stage.until(lambda: not stage.world.now.runs)

    assert 1 <= sent < 6
    assert stage.link.texts() == ["a ", "b ", "c ", "d ", "e ", "f "]
    assert stage.link.chunks[-1].next == 6


async def test_report_waits_for_the_cap_and_is_sent_then(stage: Stage) -> None:
    stage.world.bucket = Bucket(1_000_000)
    stage.world.bucket.spend(1_002_000, stage.clock.monotonic())
    await stage.warm()

    execute.accept(stage.world, an_assignment())
    await stage.until(lambda: not stage.world.now.runs)
    early = list(stage.link.delivered)
    stage.clock.seconds += 1
    await stage.until(lambda: stage.link.delivered)

    assert early == []


async def test_full_disk_cap_refuses_work_and_says_what_to_do(stage: Stage) -> None:
    capped(stage, disk_bytes=100 * MB)
    await stage.warm()
    stage.world.now.taken = Taken(disk_bytes=101 * MB)

    refused = execute.accept(stage.world, an_assignment(a_key(1)))
    stage.world.now.taken = Taken(disk_bytes=99 * MB)
    accepted = execute.accept(stage.world, an_assignment(a_key(2)))

    assert refused is not None and refused.code is RefusalCode.NO_MEMORY
    assert "ISLAND_DISK_MB_MAX" in refused.reason
    assert accepted is None


async def test_what_is_taken_is_measured(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "LOOK_S", 0.001)
    warm = await stage.warm()
    stage.start(measure.measure_for_ever(stage.world, lambda: 7 * MB))
    await stage.until(lambda: stage.world.now.taken.disk_bytes)
    cargo = stage.runtime._cargos[warm.warm.handle.id]

    cargo.used = replace(cargo.used, memory_bytes=64 * MB)
    await stage.until(lambda: stage.world.now.taken.memory_bytes == 64 * MB)

    assert stage.world.now.taken.disk_bytes == 7 * MB


def fetcher(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> str:
    """A package whose `fetch_model` does this."""
    package = folder / "greedy_engine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "fetch_model.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    return "greedy_engine"


GREEDY = """
import sys, time, pathlib
folder = pathlib.Path(sys.argv[sys.argv.index("--model-dir") + 1])
with (folder / "m.gguf.part").open("wb") as part:
    for _ in range(600):
        part.write(b"x" * 1_000_000)
        part.flush()
        time.sleep(0.05)
"""


async def test_fetch_that_outgrows_the_disk_cap_is_ended_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models_module, "LOOK_S", 0.02)
    folder = tmp_path / "models"
    module = fetcher(tmp_path, monkeypatch, GREEDY)

    def over(more_bytes: int) -> str | None:
        taken = sum(path.stat().st_size for path in folder.iterdir())
        return "too much" if taken + more_bytes > 3_000_000 else None

    manifest = the_echo_manifest(model=Model("m", "m.gguf", "0" * 64))
    with pytest.raises(ModelUnavailable, match="too much"):
        await FetchedModels(folder, over).fetch(module, manifest)

    assert list(folder.iterdir()) == []


async def test_fetch_that_would_not_fit_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = fetcher(tmp_path, monkeypatch, f"open({str(tmp_path / 'begun')!r}, 'w')")
    needs = replace(the_echo_manifest().needs, disk_mb=100)
    manifest = the_echo_manifest(model=Model("m", "m.gguf", "0" * 64), needs=needs)
    asked: list[int] = []

    def over(more_bytes: int) -> str | None:
        asked.append(more_bytes)
        return "no room"

    with pytest.raises(ModelUnavailable, match="no room"):
        await FetchedModels(tmp_path / "models", over).fetch(module, manifest)

    assert asked == [100 * MB]
    assert not (tmp_path / "begun").exists()
