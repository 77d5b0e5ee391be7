"""Reasons in words: what each rule of placement means, and what would help whoever waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from archipelag_contracts.ids import IslandId

from archipelag_coordinator.domain.placement import (
    Candidate,
    Obstacle,
    Wanted,
    first_refusal,
    obstacles,
    score,
)

MEANINGS: Final = {
    "is_approved": "awaits approval by an operator",
    "is_ready": "is not ready: draining, silent or lost",
    "was_heard_since": "was silent a moment ago and has not been heard since",
    "is_in_reach": "stands in a region that cannot be reached from here",
    "offers_cargo": "does not offer this Cargo, or another version of it",
    "can_run_cargo": "has this Cargo, but not ready to run",
    "is_paid_enough": "asks for more than this Cargo pays",
    "not_tried_before": "refused or spoilt this job before",
    "continues_in_its_class": "computes in another determinism class than the answer began in",
    "has_free_slot": "is busy: all slots are taken",
    "not_lost_before": "lost this job before, and there are others",
}
# The Islands that come nearest decide what would help: of those that fail by the last rule, everything else is right.
_HINTS: Final = (
    ("has_free_slot", "wait for a slot, or for another Island: those that have it are busy"),
    ("not_lost_before", "wait: an Island that lost this job may have it again"),
    ("continues_in_its_class", "wait for an Island of the class in which the answer began"),
    ("not_tried_before", "wait for another Island: those that have it refused this job"),
    (
        "is_paid_enough",
        "ask for another Cargo: the owners of those that have this one ask for more",
    ),
    ("can_run_cargo", "wait until the Cargo is loaded; its Islands' owners see what hinders it"),
    ("offers_cargo", "ask for another Cargo, or lend a machine that offers this one"),
    ("is_in_reach", "wait until the regions' brokers see each other again, or ask in that region"),
    ("was_heard_since", "wait a moment: the Island is expected back"),
    ("is_ready", "wait for an Island to be ready, or lend a machine"),
    ("is_approved", "ask the operator to approve the Islands that wait for it"),
)
NOBODY: Final = "no Island is connected: lend a machine, or come back later"
SOON: Final = "an Island can take it: it is given there within a second"


@dataclass(frozen=True)
class Outlook:
    """Who could take a job at this moment, and what keeps the others out."""

    asked: int
    fit: int
    kept_out: tuple[Obstacle, ...]

    @property
    def hint(self) -> str:
        if self.fit:
            return SOON
        rules = {obstacle.rule for obstacle in self.kept_out}
        return next((hint for rule, hint in _HINTS if rule in rules), NOBODY)


def outlook(wanted: Wanted, candidates: Sequence[Candidate]) -> Outlook:
    refused = [refusal for island in candidates if (refusal := first_refusal(wanted, island))]
    kept_out = obstacles(Counter(rule for rule, _ in refused))
    return Outlook(len(candidates), len(candidates) - len(refused), kept_out)


@dataclass(frozen=True)
class InLine:
    """Where one Island stands among those that could take a job of one Cargo now."""

    rule: str | None
    """That keeps it out; None: it could take one."""
    reason: str | None
    rank: int | None
    """1 is the first choice."""
    of: int
    score: float | None
    best_score: float | None


def in_line(wanted: Wanted, candidates: Sequence[Candidate], island_id: IslandId) -> InLine:
    """`island_id` is among the candidates."""
    mine = next(island for island in candidates if island.island_id == island_id)
    refusal = first_refusal(wanted, mine)
    fit = [island for island in candidates if first_refusal(wanted, island) is None]
    scores = sorted((score(wanted, island) for island in fit), reverse=True)
    best = round(scores[0], 4) if scores else None
    if refusal is not None:
        return InLine(*refusal, None, len(fit), None, best)
    own = score(wanted, mine)
    rank = 1 + sum(other > own for other in scores)
    return InLine(None, None, rank, len(fit), round(own, 4), best)
