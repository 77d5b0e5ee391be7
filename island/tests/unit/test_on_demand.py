"""Cargos that are started when somebody wants them, and give way when nobody does."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts.manifest import Image, Model
from archipelag_contracts.tiers import TIERS
from archipelag_island.domain.attempt import Cause, FileRef
from archipelag_island.domain.choice import Choice, choose
from archipelag_island.domain.offer import Offer, OfferState
from archipelag_island.domain.outputs import FILES_MAX, Outputs
from archipelag_island.domain.tier import tier_of
from archipelag_island.runtime import FilePart, InputFile, RunEvent, RuntimeInfo
from archipelag_island.services import deliver, execute, offer, room
from archipelag_island.testing.builders import ECHO_MODULE, a_key, an_assignment, the_echo_manifest

MB = 1 << 20
IMAGE = Image("archipelag/echo", "sha256:" + "ab" * 32, 1000)
BIG = replace(IMAGE, size_bytes=1 << 32)
Stage = Any


def pulled(slug: str = "echo", image: Image = IMAGE, memory_mb: int = 128) -> Offer:
    """A Cargo that comes as an image and is not started before somebody asks."""
    plain = the_echo_manifest()
    manifest = replace(
        plain, slug=slug, image=image, needs=replace(plain.needs, memory_mb=memory_mb)
    )
    tier = tier_of(manifest, 3)
    assert tier is not None
    return Offer(manifest, manifest.digest, choice=Choice("native", tier, "echo"))


def offer_all(stage: Stage, *offers: Offer) -> None:
    stage.world.now.offers = {one.slug: one for one in offers}
    stage.world.offers_changed.set()
    stage.start(offer.offer_for_ever(stage.world))
    stage.start(deliver.deliver_for_ever(stage.world))


def held(stage: Stage, slug: str = "echo") -> Offer:
    found = stage.world.now.offers[slug]
    assert isinstance(found, Offer)
    return found


def wanted(number: int = 1, slug: str = "echo", stage: Stage = None) -> Any:
    digest = held(stage, slug).digest
    return an_assignment(a_key(number), cargo_slug=slug, cargo_digest=digest)


async def test_a_small_image_is_fetched_and_started_when_a_run_wants_it(stage: Stage) -> None:
    offer_all(stage, pulled())
    await stage.until(lambda: held(stage).startable)
    starts = stage.runtime.starts

    assert execute.accept(stage.world, wanted(stage=stage)) is None
    await stage.until(lambda: stage.link.delivered)

    (report,) = stage.link.delivered_reports()
    assert starts == 0
    assert report.ending.cause is Cause.COMPLETED
    assert held(stage).warm is not None and held(stage).start_ms >= 0
    notes = [chunk.progress.note for chunk in stage.link.chunks if chunk.progress]
    assert notes == ["starting echo"]


async def test_a_large_image_is_fetched_only_once_it_is_recommended(stage: Stage) -> None:
    offer_all(stage, pulled(image=BIG))
    await stage.until(lambda: "nobody asked" in held(stage).reason)
    refusal = execute.accept(stage.world, wanted(stage=stage))

    stage.world.now.recommended = frozenset({"echo"})
    stage.world.moved()
    await stage.until(lambda: held(stage).startable)

    assert refusal is not None and "available" in refusal.reason
    assert stage.runtime.starts == 0


async def test_a_run_whose_cargo_cannot_be_started_goes_elsewhere(stage: Stage) -> None:
    stage.runtime.knobs.fail_starts = 1
    offer_all(stage, pulled())
    await stage.until(lambda: held(stage).startable)

    execute.accept(stage.world, wanted(stage=stage))
    await stage.until(lambda: stage.link.delivered)

    (report,) = stage.link.delivered_reports()
    assert report.ending.cause is Cause.ISLAND_STOPPED
    assert "told to fail at start" in report.ending.error


async def test_a_cancelled_run_does_not_wait_for_its_start(stage: Stage) -> None:
    stage.runtime.knobs.hang_at_start = True
    offer_all(stage, pulled())
    await stage.until(lambda: held(stage).startable)
    execute.accept(stage.world, wanted(stage=stage))
    await stage.until(lambda: stage.runtime.starts)

    ending = execute.Ending(Cause.CANCELLED)
    assert stage.world.stop_run(a_key(1), ending)
    await stage.until(lambda: stage.link.delivered)

    assert stage.link.delivered_reports()[0].ending.cause is Cause.CANCELLED
    assert stage.world.hold(held(stage).digest).waiting == set()


async def test_a_start_that_takes_long_is_no_stall_and_ends_with_the_deadline(
    stage: Stage,
) -> None:
    stage.runtime.knobs.hang_at_start = True
    offer_all(stage, pulled())
    await stage.until(lambda: held(stage).startable)
    execute.accept(stage.world, replace(wanted(stage=stage), deadline_ms=30_000))
    await stage.until(lambda: stage.runtime.starts)

    stage.clock.seconds += 29
    await asyncio.sleep(0.05)
    going = bool(stage.world.now.runs)
    stage.clock.seconds += 2
    await stage.until(lambda: stage.link.delivered)

    assert going
    assert stage.link.delivered_reports()[0].ending.cause is Cause.DEADLINE


async def test_an_idle_cargo_gives_way_to_one_that_is_wanted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LOOK_S", 0.001)
    stage.world.host = replace(stage.world.host, memory_bytes=200 * MB)
    offer_all(stage, pulled(), pulled("second"))
    await stage.until(lambda: held(stage).startable and held(stage, "second").startable)
    execute.accept(stage.world, wanted(stage=stage))
    await stage.until(lambda: len(stage.link.delivered) == 1)

    execute.accept(stage.world, wanted(2, "second", stage))
    await stage.until(lambda: len(stage.link.delivered) == 2)

    assert [r.ending.cause for r in stage.link.delivered_reports()] == [Cause.COMPLETED] * 2
    assert held(stage).warm is None and held(stage).takes_runs
    assert "made room" in held(stage).reason
    assert sum(stage.world.now.memory_claims.values()) <= 200 * MB


async def test_a_cargo_in_use_does_not_give_way(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LOOK_S", 0.001)
    monkeypatch.setattr(offer, "LOOK_S", 0.001)
    stage.world.host = replace(stage.world.host, memory_bytes=200 * MB)
    offer_all(stage, pulled(), pulled("second"))
    await stage.until(lambda: held(stage).startable and held(stage, "second").startable)
    stage.runtime.knobs.stall_at = 1
    execute.accept(stage.world, wanted(stage=stage))
    await stage.until(stage.link.texts)

    execute.accept(stage.world, wanted(2, "second", stage))
    await stage.until(lambda: stage.link.delivered)

    (report,) = stage.link.delivered_reports()
    assert report.ending.cause is Cause.ISLAND_STOPPED
    assert "72 MB are left of the 200 MB of this machine" in report.ending.error
    assert held(stage).warm is not None


async def test_a_cargo_that_nobody_uses_is_ended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offer, "MEMORY_LOOK_S", 0.001)
    stage.world.host = replace(stage.world.host, idle_s=60.0)
    offer_all(stage, pulled())
    await stage.until(lambda: held(stage).startable)
    execute.accept(stage.world, wanted(stage=stage))
    await stage.until(lambda: stage.link.delivered)

    stage.clock.seconds += stage.world.host.idle_s
    await stage.until(lambda: held(stage).warm is None)
    execute.accept(stage.world, wanted(2, stage=stage))
    await stage.until(lambda: len(stage.link.delivered) == 2)

    assert stage.runtime.starts == 2
    assert held(stage).warm is not None


async def test_a_run_that_comes_while_a_cargo_makes_room_waits_for_its_next_start(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offer, "MEMORY_LOOK_S", 0.001)
    stopping, go = hold_stops(stage, monkeypatch)
    offer_all(stage, pulled())
    await stage.until(lambda: held(stage).startable)
    execute.accept(stage.world, wanted(stage=stage))
    await stage.until(lambda: stage.link.delivered)
    stage.world.hold(held(stage).digest).give_way.set()
    await stopping.wait()

    refusal = execute.accept(stage.world, wanted(2, stage=stage))
    await asyncio.sleep(0.02)
    go.set()
    await stage.until(lambda: len(stage.link.delivered) == 2)

    assert refusal is None
    assert [r.ending.cause for r in stage.link.delivered_reports()] == [Cause.COMPLETED] * 2
    assert stage.runtime.starts == 2


async def test_no_run_is_given_to_a_cargo_that_died_and_is_cleared_away(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, go = hold_stops(stage, monkeypatch)
    offer_all(stage, pulled())
    await stage.until(lambda: held(stage).startable)
    execute.accept(stage.world, wanted(stage=stage))
    await stage.until(lambda: stage.link.delivered)
    stage.runtime.kill_all()
    await stopping.wait()

    refusal = execute.accept(stage.world, wanted(2, stage=stage))
    go.set()

    assert refusal is not None and "told to die" in refusal.reason


def hold_stops(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> tuple[asyncio.Event, asyncio.Event]:
    """Set once a Cargo is being ended; to be set so that it goes on."""
    stopping, go = asyncio.Event(), asyncio.Event()
    stop = stage.runtime.stop

    async def held_stop(handle: Any, grace_s: float) -> None:
        stopping.set()
        await go.wait()
        await stop(handle, grace_s)

    monkeypatch.setattr(stage.runtime, "stop", held_stop)
    return stopping, go


async def test_weights_beside_an_image_are_fetched_by_an_engine_that_is_installed(
    stage: Stage, tmp_path: Path
) -> None:
    asked: list[str] = []

    class Models:
        async def fetch(self, module: str, manifest: Any) -> Path:
            asked.append(module)
            return tmp_path

    stage.world.models = Models()
    weights = Model("m", "m.gguf", "0" * 64, "hf://some/repo/m.gguf")
    one = pulled()
    manifest = replace(one.manifest, model=weights)
    choice = Choice("oci", one.choice.tier)
    stage.world.now.recommended = frozenset({"echo"})
    offer_all(stage, replace(one, manifest=manifest, digest=manifest.digest, choice=choice))

    await stage.until(lambda: asked)

    assert asked == [ECHO_MODULE]


async def test_an_image_that_cannot_be_had_says_why_and_is_not_offered(stage: Stage) -> None:
    stage.world.images.refuse = "none of its signatures is by a trusted key"
    one = replace(pulled(), choice=replace(pulled().choice, runtime="oci"))
    offer_all(stage, one)

    await stage.until(lambda: held(stage).state is OfferState.FAILED)

    assert "trusted key" in held(stage).reason
    refusal = execute.accept(stage.world, wanted(stage=stage))
    assert refusal is not None and "trusted key" in refusal.reason


async def test_files_of_a_run_are_given_and_taken(stage: Stage, tmp_path: Any) -> None:
    offered = await stage.warm()
    seen: list[Any] = []
    data = b"x" * 1000
    whole = hashlib.sha256(data).digest()

    async def run(handle: Any, request: Any) -> Any:
        seen.append(request.files)
        yield RunEvent(file=FilePart("out.bin", "application/octet-stream", data[:600]))
        yield RunEvent(
            file=FilePart("out.bin", "application/octet-stream", data[600:], True, whole)
        )
        async for event in real(handle, request):
            yield event

    real, stage.runtime.run = stage.runtime.run, run
    ref = FileRef(execute_id(), b"", 3)
    (tmp_path / "in").write_bytes(b"abc")
    stage.world.files.stored[ref.id] = InputFile(ref.id, tmp_path / "in")

    execute.accept(stage.world, an_assignment(cargo_digest=offered.digest, files=(ref,)))
    await stage.until(lambda: stage.link.delivered)

    assert stage.link.delivered_reports()[0].ending.cause is Cause.COMPLETED
    assert seen == [(InputFile(ref.id, tmp_path / "in"),)]
    assert [(offset, len(part.data)) for _, offset, part in stage.world.files.sent] == [
        (0, 600),
        (600, 400),
    ]


def execute_id() -> Any:
    from archipelag_contracts.ids import file_id

    return file_id("file_" + "0" * 32)


async def test_files_that_cannot_be_had_send_the_run_elsewhere(stage: Stage) -> None:
    offered = await stage.warm()
    missing = FileRef(execute_id(), b"", 3)

    execute.accept(stage.world, an_assignment(cargo_digest=offered.digest, files=(missing,)))
    await stage.until(lambda: stage.link.delivered)

    assert stage.link.delivered_reports()[0].ending.cause is Cause.ISLAND_STOPPED


def part(name: str = "a", data: bytes = b"1", *, last: bool = False, sha256: bytes = b"") -> Any:
    return FilePart(name, "text/plain", data, last, sha256)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/b", "/etc/passwd", "a\\b", "a\0", "a\n", "c:a", "x" * 129]
)
def test_a_file_has_a_plain_name(name: str) -> None:
    assert "may not be called" in str(Outputs().take(part(name)))


def test_files_come_in_order_once_and_as_their_hash_says() -> None:
    outputs = Outputs(bytes_max=10)
    good = hashlib.sha256(b"12").digest()

    assert outputs.take(part(data=b"1")) == 0
    assert outputs.unfinished == "a"
    assert outputs.take(part(data=b"2", last=True, sha256=good)) == 1
    assert outputs.unfinished == ""
    assert "had ended" in str(outputs.take(part()))
    assert "is not what its hash says" in str(outputs.take(part("b", last=True, sha256=good)))
    assert "more than 10 bytes" in str(outputs.take(part("c", b"x" * 9)))


def test_there_are_not_too_many_files() -> None:
    outputs = Outputs()
    said = [outputs.take(part(str(number))) for number in range(FILES_MAX + 1)]

    assert said[:-1] == [0] * FILES_MAX
    assert str(said[-1]).startswith("more than")


WEAK = RuntimeInfo("native", (), ("all",), trust_min=3)
STRONG = RuntimeInfo("oci", (), (), trust_min=0)


@pytest.mark.parametrize(
    ("changes", "trust", "runtimes", "expected"),
    [
        ({}, 3, (STRONG, WEAK), "native"),
        ({}, 2, (STRONG, WEAK), "does not isolate well enough"),
        ({"image": IMAGE}, 0, (STRONG, WEAK), "oci"),
        ({"image": IMAGE}, 3, (WEAK,), "native"),
        ({"image": IMAGE, "engine": "other"}, 3, (WEAK,), "no oci runtime"),
        ({"engine": "other"}, 3, (WEAK,), "is not installed"),
        ({"runtime": "wasm", "image": IMAGE}, 3, (STRONG,), "no wasm runtime"),
        ({"runtime": "oci", "image": IMAGE}, 0, (STRONG,), "oci"),
        ({"runtime": "oci", "image": IMAGE, "limits": {"tier": "elevated"}}, 2, (STRONG,), "tier"),
    ],
)
def test_the_strongest_runtime_that_may_is_chosen(
    changes: dict[str, Any], trust: int, runtimes: tuple[RuntimeInfo, ...], expected: str
) -> None:
    manifest = the_echo_manifest(**changes)

    chosen = choose(manifest, trust, runtimes, {"echo": "echo_module"})

    if isinstance(chosen, str):
        assert expected in chosen
    else:
        assert chosen.runtime == expected
        assert chosen.module == ("echo_module" if expected == "native" else "")


def test_a_tier_is_cut_to_what_the_cargo_asks_for() -> None:
    manifest = the_echo_manifest(limits={"seconds": 20})

    tier = tier_of(manifest, 0)

    assert tier is not None
    assert (tier.memory_bytes, tier.seconds) == (128 * MB, 20)
    assert tier.tmp_bytes <= tier.memory_bytes // 2 < TIERS["restricted"].memory_bytes
