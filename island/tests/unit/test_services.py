"""The verbs on fakes: how runs end, what heartbeats say, what answers do, what a hostile catalogue gets."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from archipelag_contracts.signing import SigningKey
from archipelag_island.domain.attempt import Cancel, Cause, RefusalCode
from archipelag_island.domain.beat import Beat, BeatReply
from archipelag_island.domain.offer import OfferState
from archipelag_island.errors import NoAnswer
from archipelag_island.services import announce, deliver, drain, execute, reconcile
from archipelag_island.services.announce import Voice
from archipelag_island.testing.builders import (
    ISLAND,
    a_key,
    an_assignment,
    an_input,
    the_echo_manifest,
)

Stage = Any


def reply(beat: Beat, **changes: Any) -> BeatReply:
    made = BeatReply(beat.island_id, beat.sequence, 1000, (), (), (), True, "", "", ())
    return replace(made, **changes)


async def obeyed(stage: Stage, **changes: Any) -> None:
    stage.link.answer = lambda beat: reply(beat, **changes)
    voice = Voice(100 + len(stage.link.beats))
    await announce.announce(stage.world, voice, lambda r: reconcile.reconcile(stage.world, r))


async def test_run_ends_completed_and_is_delivered(stage: Stage) -> None:
    await stage.warm()

    assert execute.accept(stage.world, an_assignment()) is None
    await stage.until(lambda: stage.link.delivered)

    assert stage.link.texts() == ["one ", "two ", "three "]
    (report,) = stage.link.delivered_reports()
    assert report.ending.cause is Cause.COMPLETED
    assert report.usage.output_items == 3
    assert not stage.world.now.runs
    assert stage.world.slots_free == 2


@pytest.mark.parametrize(
    ("knobs", "after_s", "cause"),
    [
        ({"exit_at": 1}, 0, Cause.CARGO_DIED),
        ({"fail_at": 1}, 0, Cause.CARGO_FAILED),
        ({"stall_at": 1}, 5.5, Cause.CARGO_STALLED),
        ({"stall_at": 0}, 60, Cause.CARGO_STALLED),
        ({"endless": True}, 0, Cause.COMPLETED),
    ],
)
async def test_run_ends_for_the_right_reason(
    stage: Stage, knobs: dict[str, Any], after_s: float, cause: Cause
) -> None:
    await stage.warm()
    for name, value in knobs.items():
        setattr(stage.runtime.knobs, name, value)

    execute.accept(stage.world, an_assignment(output_items_max=50))
    await asyncio.sleep(0)
    stage.clock.seconds += after_s
    await stage.until(lambda: stage.link.delivered)

    report = stage.link.delivered_reports()[0]
    assert report.ending.cause is cause
    assert report.next_position <= 50
    assert stage.link.chunks[-1].end == report.ending
    assert stage.link.chunks[-1].next == report.next_position == len(stage.link.texts())


async def test_deadline_ends_a_run_that_makes_progress(stage: Stage) -> None:
    await stage.warm()
    stage.runtime.knobs.endless = True
    stage.runtime.knobs.item_s = 0.01
    execute.accept(stage.world, an_assignment(deadline_ms=3000))
    await stage.until(stage.link.texts)

    stage.clock.seconds += 3.0
    await stage.until(lambda: stage.link.delivered)

    assert stage.link.delivered_reports()[0].ending.cause is Cause.DEADLINE


async def test_too_many_bytes_end_a_run(stage: Stage) -> None:
    await stage.warm()

    execute.accept(stage.world, an_assignment(output_bytes_max=6))
    await stage.until(lambda: stage.link.delivered)

    report = stage.link.delivered_reports()[0]
    assert report.ending.cause is Cause.LIMIT_EXCEEDED
    assert report.texts == ("one ",)


async def test_keep_alives_come_while_the_cargo_is_quiet(stage: Stage) -> None:
    await stage.warm()
    stage.runtime.knobs.stall_at = 0

    execute.accept(stage.world, an_assignment())
    await stage.until(lambda: stage.link.keep_alives >= 2)

    assert not stage.link.texts()


async def test_cancel_of_another_island_changes_nothing(stage: Stage) -> None:
    await stage.warm()
    stage.runtime.knobs.stall_at = 1
    execute.accept(stage.world, an_assignment())
    await stage.until(stage.link.texts)

    other = execute.cancel(stage.world, Cancel(a_key(), "isl_" + "z" * 26, ""))  # type: ignore[arg-type]
    older = execute.cancel(stage.world, Cancel(a_key(epoch=2), ISLAND, ""))
    mine = execute.cancel(stage.world, Cancel(a_key(), ISLAND, "enough"))
    await stage.until(lambda: stage.link.delivered)

    assert (other, older, mine) == (False, False, True)
    assert stage.link.delivered_reports()[0].ending.cause is Cause.CANCELLED


async def test_cancel_before_the_run_began_ends_it(stage: Stage) -> None:
    await stage.warm()

    execute.accept(stage.world, an_assignment())
    execute.cancel(stage.world, Cancel(a_key(), ISLAND, "enough"))
    await stage.until(lambda: stage.link.delivered)

    assert stage.link.delivered_reports()[0].ending.cause is Cause.CANCELLED
    assert stage.link.texts() == []


async def test_third_run_is_refused_where_there_are_two_slots(stage: Stage) -> None:
    await stage.warm()
    stage.runtime.knobs.stall_at = 0

    answers, rooms = [], []
    for n in (1, 2, 3):
        answers.append(execute.accept(stage.world, an_assignment(a_key(n))))
        rooms.append(execute.room(stage.world, an_assignment(a_key(n))).slots_free)

    assert answers[:2] == [None, None]
    assert answers[2] is not None and answers[2].code is RefusalCode.NO_SLOT
    assert rooms == [1, 0, 0]


async def test_replayed_epoch_is_refused_also_once_it_was_forgotten(stage: Stage) -> None:
    await stage.warm()
    execute.accept(stage.world, an_assignment())
    await stage.until(lambda: stage.link.delivered)
    await obeyed(stage, forget=(a_key(),))

    again = execute.accept(stage.world, an_assignment())
    next_epoch = execute.accept(stage.world, an_assignment(a_key(epoch=2)))

    assert again is not None and again.code is RefusalCode.STALE
    assert next_epoch is None


async def test_chunks_lost_on_a_dead_line_are_in_the_report(stage: Stage) -> None:
    await stage.warm()
    stage.link.down = True
    execute.accept(stage.world, an_assignment())
    await stage.until(lambda: not stage.world.now.runs)

    stage.link.down = False
    await stage.until(lambda: stage.link.delivered)

    assert stage.link.delivered_reports()[0].texts == ("one ", "two ", "three ")


async def test_a_report_does_not_wait_for_its_next_try_once_the_line_is_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "WAITS_S", (3600.0, 3600.0))
    await stage.warm()
    stage.link.down = True
    execute.accept(stage.world, an_assignment())
    await stage.until(lambda: not stage.world.now.runs)
    await stage.until(lambda: not stage.world.reports_waiting.is_set())
    assert not stage.link.delivered

    stage.link.down = False
    stage.world.came_up()

    await stage.until(lambda: stage.link.delivered)


async def test_heartbeat_names_what_is_held_until_it_is_forgotten(stage: Stage) -> None:
    await stage.warm()
    stage.runtime.knobs.stall_at = 2
    execute.accept(stage.world, an_assignment(a_key(1)))
    await stage.until(lambda: len(stage.link.texts()) == 2)
    await obeyed(stage)
    stage.runtime.knobs.stall_at = None
    execute.accept(stage.world, an_assignment(a_key(2)))
    await stage.until(lambda: stage.link.delivered)
    await obeyed(stage, forget=(a_key(2), a_key(1)))
    await obeyed(stage)

    held = [[(h.key, h.reported, h.next_position) for h in beat.held] for beat in stage.link.beats]
    assert held == [
        [(a_key(1), False, 2)],
        [(a_key(1), False, 2), (a_key(2), True, 3)],
        # Forgetting what runs would be a mistake of the other side's; it runs on.
        [(a_key(1), False, 2)],
    ]


async def test_attempt_to_stop_ends_without_a_report(stage: Stage) -> None:
    await stage.warm()
    stage.runtime.knobs.stall_at = 1
    execute.accept(stage.world, an_assignment())
    await stage.until(stage.link.texts)

    await obeyed(stage, stop=(a_key(),))
    await stage.until(lambda: not stage.world.now.runs)

    assert not stage.link.delivered
    assert not stage.journal.all()
    assert all(chunk.end is None for chunk in stage.link.chunks)


async def test_resend_delivers_again(stage: Stage) -> None:
    await stage.warm()
    execute.accept(stage.world, an_assignment())
    await stage.until(lambda: len(stage.link.delivered) == 1)

    await obeyed(stage, resend=(a_key(), a_key(9)))
    await stage.until(lambda: len(stage.link.delivered) == 2)

    assert stage.link.delivered[0] == stage.link.delivered[1]


@pytest.mark.parametrize("change", [{"sequence": 1}, {"island_id": "isl_" + "z" * 26}])
async def test_answer_to_another_heartbeat_is_not_obeyed(
    stage: Stage, change: dict[str, Any]
) -> None:
    with pytest.raises(NoAnswer):
        await obeyed(stage, accepts_work=True, notice="obeyed", **change)

    assert stage.world.now.notice != "obeyed"


async def test_capabilities_are_told_once_and_again_after_a_lost_answer(stage: Stage) -> None:
    voice = Voice(1)
    obey = lambda r: None  # noqa: E731
    stage.link.answer = lambda beat: reply(beat, sequence=0)
    with pytest.raises(NoAnswer):
        await announce.announce(stage.world, voice, obey)
    stage.link.answer = reply
    await announce.announce(stage.world, voice, obey)
    await announce.announce(stage.world, voice, obey)

    told = [beat.capabilities is not None for beat in stage.link.beats]
    assert told == [True, True, False]
    assert [beat.sequence for beat in stage.link.beats] == [2, 3, 4]


async def test_catalogue_takes_only_what_trusted_publishers_signed(stage: Stage) -> None:
    good = the_echo_manifest()
    stranger = SigningKey.from_seed(bytes([1] * 32))
    forged = replace(stage.entry(the_echo_manifest(slug="forged")), signature=bytes(64))
    entries = (
        stage.entry(good),
        stage.entry(the_echo_manifest(slug="stranger"), stranger),
        forged,
        replace(stage.entry(the_echo_manifest(slug="loose")), manifest=b"{}"),
        stage.entry(the_echo_manifest(slug="unknown-engine", engine="nowhere")),
        stage.entry(the_echo_manifest(slug="container", runtime="oci")),
    )

    await obeyed(stage, catalogue_version="v2", catalogue=entries)

    assert list(stage.world.now.offers) == ["echo"]
    assert stage.world.now.offers["echo"].digest == good.digest
    assert stage.world.shelf.load()[0] == "v2"


async def test_owner_decides_which_cargos_run(stage: Stage) -> None:
    stage.world.host = replace(stage.world.host, cargos=frozenset({"other"}))

    await obeyed(stage, catalogue_version="v2", catalogue=(stage.entry(the_echo_manifest()),))

    assert stage.world.now.offers == {}


async def test_catalogue_that_stays_the_same_keeps_cargos_warm(stage: Stage) -> None:
    await stage.warm()
    entry = stage.entry(the_echo_manifest())

    await obeyed(stage, catalogue_version="v2", catalogue=(entry,))
    await obeyed(stage, catalogue_version="v3", catalogue=(entry,))

    assert stage.world.now.offers["echo"].warm is not None
    assert stage.runtime.starts == 1


async def test_cargo_that_left_the_catalogue_is_stopped(stage: Stage) -> None:
    offer = await stage.warm()

    await obeyed(stage, catalogue_version="v2", catalogue=())
    await stage.until(stage.runtime._cargos[offer.warm.handle.id].end.done)

    assert stage.world.now.offers == {}


async def test_cargo_that_fails_to_start_says_why_and_is_tried_again(stage: Stage) -> None:
    stage.runtime.knobs.fail_starts = 1
    stage.offer_echo()
    stage.start(stage_keeper(stage))
    await stage.until(lambda: stage.world.now.offers["echo"].state is OfferState.FAILED)
    reason = stage.world.now.offers["echo"].reason

    await stage.until(lambda: stage.world.now.offers["echo"].warm is not None)

    assert "told to fail" in reason
    assert stage.world.beat_soon.is_set()


def stage_keeper(stage: Stage) -> Any:
    from archipelag_island.services.offer import offer_for_ever

    return offer_for_ever(stage.world)


async def test_drain_ends_runs_and_takes_no_more(stage: Stage) -> None:
    await stage.warm()
    stage.runtime.knobs.stall_at = 1
    execute.accept(stage.world, an_assignment(input=an_input("a b c")))
    await stage.until(stage.link.texts)

    await drain.drain(stage.world, 5.0)
    refused = execute.accept(stage.world, an_assignment(a_key(2)))
    await stage.until(lambda: stage.link.delivered)

    assert refused is not None and refused.code is RefusalCode.DRAINING
    assert stage.link.delivered_reports()[0].ending.cause is Cause.ISLAND_STOPPED


async def test_run_of_a_cargo_that_is_withdrawn_can_go_on_elsewhere(stage: Stage) -> None:
    await stage.warm()
    stage.runtime.knobs.stall_at = 1
    execute.accept(stage.world, an_assignment())
    await stage.until(stage.link.texts)

    await obeyed(stage, catalogue_version="v2", catalogue=())
    await stage.until(lambda: stage.link.delivered)

    report = stage.link.delivered_reports()[0]
    assert report.ending.cause is Cause.ISLAND_STOPPED
    assert report.next_position == 1


async def test_cargo_that_takes_too_much_memory_is_ended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archipelag_island.services import offer

    monkeypatch.setattr(offer, "MEMORY_LOOK_S", 0.01)
    warm = await stage.warm()
    stage.runtime.knobs.stall_at = 1
    execute.accept(stage.world, an_assignment())
    await stage.until(stage.link.texts)

    cargo = stage.runtime._cargos[warm.warm.handle.id]
    cargo.used = replace(cargo.used, memory_bytes=10 << 30)
    await stage.until(lambda: stage.link.delivered)

    assert stage.link.delivered_reports()[0].ending.cause is Cause.LIMIT_EXCEEDED
    assert cargo.end.done()
