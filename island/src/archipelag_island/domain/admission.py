"""Admission: whether this Island takes an assignment, as a table of rules that each say why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from archipelag_contracts.ids import IslandId

from archipelag_island.domain.attempt import Assignment, Refusal, RefusalCode, Room
from archipelag_island.domain.offer import Offer

# An assignment older or newer than this by our own clock is a replay, or somebody's clock is badly wrong.
FRESH_MS: Final = 300_000
INPUT_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True)
class Situation:
    """What the rules look at."""

    island: IslandId
    now_ms: int
    draining: bool
    slots: int
    running: int
    running_this_cargo: int
    offer: Offer | None
    """The Cargo of that slug, as held here."""
    epoch_seen: int
    """The highest epoch seen for this job; 0: none."""
    trouble: str = ""
    """Why nothing can be remembered safely now: the disk, the journal."""
    paused: str = ""
    """Why the owner needs the machine now; empty: does not."""


Rule = Callable[[Assignment, Situation], Refusal | None]


def admit(assignment: Assignment, situation: Situation) -> Refusal | None:
    """None: accepted. The first rule that says no decides."""
    for rule in RULES:
        refusal = rule(assignment, situation)
        if refusal is not None:
            return refusal
    return None


def is_for_me(a: Assignment, s: Situation) -> Refusal | None:
    if a.island_id == s.island:
        return None
    return Refusal(RefusalCode.BAD_SIGNATURE, "this assignment was made for another Island")


def is_fresh(a: Assignment, s: Situation) -> Refusal | None:
    off_s = (s.now_ms - a.issued_at_ms) / 1000
    if abs(off_s) * 1000 <= FRESH_MS:
        return None
    when = f"{off_s:.0f} s old" if off_s > 0 else f"{-off_s:.0f} s in the future"
    return Refusal(RefusalCode.STALE, f"this assignment is {when} by the clock of this Island")


def is_newest_epoch(a: Assignment, s: Situation) -> Refusal | None:
    if a.key.epoch > s.epoch_seen:
        return None
    return Refusal(RefusalCode.STALE, f"epoch {s.epoch_seen} of this job was already seen here")


def is_not_draining(_: Assignment, s: Situation) -> Refusal | None:
    return Refusal(RefusalCode.DRAINING, "this Island is drained") if s.draining else None


def is_not_needed_by_its_owner(_: Assignment, s: Situation) -> Refusal | None:
    if not s.paused:
        return None
    return Refusal(RefusalCode.OWNER_BUSY, f"this Island is paused: {s.paused}")


def can_be_remembered(_: Assignment, s: Situation) -> Refusal | None:
    return Refusal(RefusalCode.NO_MEMORY, s.trouble) if s.trouble else None


def knows_the_cargo(a: Assignment, s: Situation) -> Refusal | None:
    if s.offer is not None:
        return None
    return Refusal(RefusalCode.UNKNOWN_CARGO, f"{a.cargo_slug[:64]} is not offered here")


def has_that_version(a: Assignment, s: Situation) -> Refusal | None:
    assert s.offer is not None
    if a.cargo_digest == s.offer.digest:
        return None
    return Refusal(RefusalCode.DIGEST_MISMATCH, f"{s.offer.slug} is {s.offer.digest} here")


def can_start(_: Assignment, s: Situation) -> Refusal | None:
    assert s.offer is not None
    if s.offer.takes_runs:
        return None
    reason = f"{s.offer.slug} is {s.offer.state.value}"
    return Refusal(
        RefusalCode.CARGO_NOT_READY, f"{reason}: {s.offer.reason}" if s.offer.reason else reason
    )


def has_a_slot(_: Assignment, s: Situation) -> Refusal | None:
    assert s.offer is not None
    if room_of(s).cargo_slots_free > 0:
        return None
    return Refusal(RefusalCode.NO_SLOT, f"{s.running} runs already, {s.slots} slots")


def can_resume(a: Assignment, s: Situation) -> Refusal | None:
    assert s.offer is not None
    if a.first_position == 0:
        return None
    if not s.offer.manifest.resumable:
        return Refusal(RefusalCode.NOT_RESUMABLE, f"{s.offer.slug} cannot resume")
    state = max(len(a.resume_tokens), len(a.resume_texts))
    if state != a.first_position:
        return Refusal(
            RefusalCode.NOT_RESUMABLE, f"{state} items came to resume at {a.first_position}"
        )
    return None


def is_within_bounds(a: Assignment, _: Situation) -> Refusal | None:
    if len(a.input) <= INPUT_BYTES_MAX and a.deadline_ms > 0 and a.output_items_max > 0:
        return None
    return Refusal(RefusalCode.STALE, "no time, no output or too much input in this assignment")


def room_of(s: Situation) -> Room:
    """What the rules about slots would let in; nothing while this Island takes no work."""
    if s.draining or s.paused:
        return Room(0, 0)
    free = max(0, s.slots - s.running)
    of_cargo = s.offer.slots(s.slots) - s.running_this_cargo if s.offer is not None else 0
    return Room(free, min(free, max(0, of_cargo)))


# Who may speak comes before what is possible.
RULES: Final[tuple[Rule, ...]] = (
    is_for_me,
    is_fresh,
    is_newest_epoch,
    is_not_draining,
    is_not_needed_by_its_owner,
    can_be_remembered,
    knows_the_cargo,
    has_that_version,
    can_start,
    has_a_slot,
    can_resume,
    is_within_bounds,
)
