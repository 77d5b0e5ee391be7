"""The owner comes first: which reading pauses, and how a pause begins and ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from itertools import product
from typing import Any

import pytest
from archipelag_island.domain.attempt import Cause, RefusalCode
from archipelag_island.domain.offer import OfferState
from archipelag_island.domain.owner import (
    NEXT,
    RULES,
    Mode,
    Owner,
    Readings,
    Rules,
    Sight,
    needs_the_machine,
)
from archipelag_island.domain.schedule import parse
from archipelag_island.services import announce, execute, offer, yield_to_owner
from archipelag_island.services.announce import Voice
from archipelag_island.testing.builders import a_key, an_assignment, the_echo_manifest

Stage = Any
MONDAY_NOON = datetime(2026, 6, 1, 12)  # noqa: DTZ001
NIGHTS = parse("mon-fri 18:00-08:00")
ALL = Rules(25, True, True, True, NIGHTS, quiet_s=60, wished=NIGHTS)
BUSY = Readings(0.5, 0.1, True, True, MONDAY_NOON)
CALM = Readings(0.1, 999.0, False, False, MONDAY_NOON.replace(hour=20))


@pytest.mark.parametrize(
    ("reading", "why"),
    [
        ({"cpu_others": 0.26}, "other programs"),
        ({"cpu_others": 0.25}, None),
        ({"input_age_s": 1.9}, "somebody uses"),
        ({"input_age_s": 2.1}, None),
        ({"on_battery": True}, "battery"),
        ({"metered": True}, "metered"),
        ({"local": MONDAY_NOON}, "until mon 18:00"),
        ({}, None),
    ],
)
def test_reading_pauses(reading: dict[str, Any], why: str | None) -> None:
    said = needs_the_machine(ALL, replace(CALM, **reading))

    assert (said is None) is (why is None)
    assert why is None or why in str(said)


def test_what_is_unknown_never_pauses() -> None:
    assert needs_the_machine(ALL, Readings()) is None


def test_nothing_pauses_unless_its_owner_says_so() -> None:
    assert not Rules().any
    assert needs_the_machine(Rules(), BUSY) is None


def test_every_rule_says_no_to_something() -> None:
    assert all(rule(ALL, BUSY) and rule(ALL, CALM) is None for rule in RULES)


def test_every_state_knows_what_follows_each_sight() -> None:
    assert set(NEXT) == set(product(Mode, Sight))


def test_pause_ends_only_after_a_quiet_time_without_a_break() -> None:
    owner, modes = Owner(), []
    busy_at = (1, 60.5)
    for now in (0, 1, 2, 60, 60.5, 61, 120, 120.5):
        seen = BUSY if now in busy_at else CALM
        owner = owner.look(ALL, seen, now)
        modes.append(owner.paused)

    assert modes == [False, True, True, True, True, True, True, False]
    assert owner.reason == ""


def test_paused_owner_says_how_long_it_must_stay_quiet() -> None:
    owner = Owner().look(ALL, BUSY, 10.0)

    assert owner.quiet_left_s(ALL, 30.0) == 40.0
    assert owner.look(ALL, CALM, 70.0).quiet_left_s(ALL, 70.0) == 0.0


def test_reason_is_the_newest_while_it_stays_busy() -> None:
    owner = Owner().look(ALL, replace(CALM, on_battery=True), 1.0)
    owner = owner.look(ALL, replace(CALM, metered=True), 2.0)

    assert "metered" in owner.reason


class Script:
    """Senses that a test turns."""

    def __init__(self, seen: Readings) -> None:
        self.seen = seen
        self.reads = 0

    def read(self) -> Readings:
        self.reads += 1
        return self.seen


def with_rules(stage: Stage, **changes: Any) -> None:
    rules = replace(ALL, **changes)
    stage.world.host = replace(stage.world.host, rules=rules)


async def test_pause_hands_over_refuses_and_is_told_at_once(stage: Stage) -> None:
    with_rules(stage)
    await stage.warm()
    stage.runtime.knobs.stall_at = 1
    execute.accept(stage.world, an_assignment())
    await stage.until(stage.link.texts)
    yield_to_owner.look(stage.world, CALM)
    stage.world.beat_soon.clear()

    yield_to_owner.look(stage.world, BUSY)
    told_at_once = stage.world.beat_soon.is_set()
    refused = execute.accept(stage.world, an_assignment(a_key(2)))
    await announce.announce(stage.world, Voice(1), lambda reply: None)
    await stage.until(lambda: stage.link.delivered)

    beat, report = stage.link.beats[-1], stage.link.delivered_reports()[0]
    assert told_at_once
    assert refused is not None and refused.code is RefusalCode.OWNER_BUSY
    assert "other programs" in refused.reason
    assert (beat.slots_free, beat.draining) == (0, True)
    assert report.ending.cause is Cause.ISLAND_STOPPED
    assert "owner needs the machine" in report.ending.error
    assert report.next_position == 1


async def test_work_is_taken_again_after_the_quiet_time(stage: Stage) -> None:
    with_rules(stage)
    await stage.warm()
    yield_to_owner.look(stage.world, BUSY)
    stage.clock.seconds += 59
    yield_to_owner.look(stage.world, CALM)
    early = execute.accept(stage.world, an_assignment(a_key(1)))
    stage.world.beat_soon.clear()

    stage.clock.seconds += 1
    yield_to_owner.look(stage.world, CALM)
    late = execute.accept(stage.world, an_assignment(a_key(2)))

    assert early is not None and late is None
    assert stage.world.beat_soon.is_set()


async def test_look_that_changes_nothing_sends_no_heartbeat(stage: Stage) -> None:
    with_rules(stage)
    yield_to_owner.look(stage.world, BUSY)
    stage.world.beat_soon.clear()

    yield_to_owner.look(stage.world, BUSY)

    assert not stage.world.beat_soon.is_set()
    assert stage.world.now.readings is BUSY


async def test_senses_are_read_again_and_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yield_to_owner, "LOOK_S", 0.001)
    with_rules(stage)
    senses = Script(CALM)
    stage.start(yield_to_owner.yield_for_ever(stage.world, senses))
    await stage.until(lambda: senses.reads > 2)

    senses.seen = BUSY
    await stage.until(lambda: stage.world.now.owner.paused)


async def test_cargo_is_not_started_while_the_owner_needs_the_machine(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offer, "LOOK_S", 0.001)
    with_rules(stage)
    yield_to_owner.look(stage.world, BUSY)
    stage.offer_echo()
    stage.start(offer.offer_for_ever(stage.world))
    await stage.until(lambda: stage.world.now.offers["echo"].state is OfferState.LOADING)
    reason, starts = stage.world.now.offers["echo"].reason, stage.runtime.starts

    stage.clock.seconds += 60
    yield_to_owner.look(stage.world, CALM)
    await stage.until(lambda: stage.world.now.offers["echo"].warm is not None)

    assert "owner needs the machine" in reason
    assert starts == 0


async def test_fetching_is_given_up_when_a_pause_begins_and_begun_again_after_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offer, "LOOK_S", 0.001)
    with_rules(stage)
    fetches: list[str] = []
    may_end = asyncio.Event()

    class Slow:
        async def fetch(self, module: str, manifest: Any) -> Any:
            fetches.append("begun")
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                fetches.append("given up")
                raise
            return None

    from archipelag_contracts.manifest import Model

    stage.world.models = Slow()
    manifest = the_echo_manifest(kind="chat", model=Model("m", "m.gguf", "0" * 64))
    made = offer.Offer(manifest, manifest.digest)
    stage.world.now.offers = {manifest.slug: made}
    stage.start(offer.offer_for_ever(stage.world))
    await stage.until(lambda: fetches == ["begun"])

    yield_to_owner.look(stage.world, BUSY)
    await stage.until(lambda: fetches == ["begun", "given up"])
    stage.clock.seconds += 60
    yield_to_owner.look(stage.world, CALM)
    may_end.set()
    await stage.until(lambda: stage.world.now.offers["echo"].warm is not None)

    assert fetches == ["begun", "given up", "begun"]
