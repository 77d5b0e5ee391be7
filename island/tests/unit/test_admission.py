"""The table of admission: one row, one assignment, the refusal last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from archipelag_contracts.ids import CargoDigest, IslandId
from archipelag_island.domain.admission import FRESH_MS, RULES, Situation, admit, room_of
from archipelag_island.domain.attempt import RefusalCode, Room
from archipelag_island.domain.offer import Offer, Warm
from archipelag_island.domain.usage import Meter
from archipelag_island.runtime import CargoState, Description, Handle
from archipelag_island.testing.builders import ISLAND, an_assignment, the_echo_manifest

MANIFEST = the_echo_manifest()
WARM = Offer(MANIFEST, MANIFEST.digest).get_warm(
    Warm(Handle("x"), Description(CargoState.READY, slots=2), Meter())
)
FIXED = the_echo_manifest(resumable=False)
NOW = 1_700_000_000_000
GOOD = Situation(ISLAND, NOW, False, 4, 1, 1, WARM, 0)


@pytest.mark.parametrize(
    ("assignment", "situation", "code"),
    [
        ({}, {}, None),
        ({}, {"epoch_seen": 1}, RefusalCode.STALE),
        ({}, {"epoch_seen": 7}, RefusalCode.STALE),
        ({"island_id": IslandId("isl_" + "z" * 26)}, {}, RefusalCode.BAD_SIGNATURE),
        ({"issued_at_ms": NOW - FRESH_MS - 1}, {}, RefusalCode.STALE),
        ({"issued_at_ms": NOW + FRESH_MS + 1}, {}, RefusalCode.STALE),
        ({"issued_at_ms": NOW - FRESH_MS}, {}, None),
        ({}, {"draining": True}, RefusalCode.DRAINING),
        ({}, {"paused": "it runs on battery"}, RefusalCode.OWNER_BUSY),
        ({}, {"trouble": "the disk is full"}, RefusalCode.NO_MEMORY),
        ({}, {"offer": None}, RefusalCode.UNKNOWN_CARGO),
        ({"cargo_digest": CargoDigest("sha256:" + "0" * 64)}, {}, RefusalCode.DIGEST_MISMATCH),
        ({}, {"offer": WARM.fail("no")}, RefusalCode.CARGO_NOT_READY),
        ({}, {"offer": WARM.load("starting")}, RefusalCode.CARGO_NOT_READY),
        ({}, {"running": 4}, RefusalCode.NO_SLOT),
        ({}, {"running_this_cargo": 2}, RefusalCode.NO_SLOT),
        ({"first_position": 2, "resume_tokens": (1, 2)}, {}, None),
        ({"first_position": 2, "resume_tokens": (1,)}, {}, RefusalCode.NOT_RESUMABLE),
        ({"first_position": 2}, {}, RefusalCode.NOT_RESUMABLE),
        (
            {"first_position": 1, "resume_tokens": (1,), "cargo_digest": FIXED.digest},
            {"offer": replace(WARM, manifest=FIXED, digest=FIXED.digest)},
            RefusalCode.NOT_RESUMABLE,
        ),
        ({"deadline_ms": 0}, {}, RefusalCode.STALE),
        ({"output_items_max": 0}, {}, RefusalCode.STALE),
    ],
)
def test_admission(
    assignment: dict[str, Any], situation: dict[str, Any], code: RefusalCode | None
) -> None:
    refusal = admit(an_assignment(**assignment), replace(GOOD, **situation))

    assert (refusal.code if refusal else None) == code
    assert refusal is None or refusal.reason


def test_every_rule_refuses_something() -> None:
    hostile = an_assignment(
        island_id=IslandId("isl_" + "z" * 26), issued_at_ms=0, first_position=3, deadline_ms=0,
        cargo_digest=CargoDigest("sha256:" + "1" * 64),
    )  # fmt: skip
    cold = WARM.fail("cold")
    bad = Situation(ISLAND, NOW, True, 1, 1, 1, cold, 9, "trouble", "busy")

    said = [rule.__name__ for rule in RULES if rule(hostile, bad) is not None]

    assert set(said) >= {rule.__name__ for rule in RULES} - {"knows_the_cargo"}


@pytest.mark.parametrize(
    ("situation", "room"),
    [
        ({}, Room(3, 1)),
        ({"running": 4, "running_this_cargo": 2}, Room(0, 0)),
        ({"running": 3}, Room(1, 1)),
        ({"running": 2, "running_this_cargo": 2}, Room(2, 0)),
        ({"running": 5, "running_this_cargo": 3}, Room(0, 0)),
        ({"offer": None}, Room(3, 0)),
        ({"draining": True}, Room(0, 0)),
        ({"paused": "it runs on battery"}, Room(0, 0)),
    ],
)
def test_what_is_said_of_free_slots_is_what_would_be_taken(
    situation: dict[str, Any], room: Room
) -> None:
    assert room_of(replace(GOOD, **situation)) == room
