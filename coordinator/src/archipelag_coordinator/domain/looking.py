"""Looking for an Island in a large fleet: at the best of a shelf rather than at all, and never far from the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final

from archipelag_contracts.ids import IslandId

from archipelag_coordinator.domain.placement import (
    LOST_BEFORE,
    NEAR_EQUAL,
    REASONS_MAX,
    Candidate,
    Look,
    Verdict,
    Wanted,
    continues_in_its_class,
    first_refusal,
    has_free_slot,
    is_approved,
    is_in_reach,
    is_ready,
    not_tried_before,
    obstacles,
    offers_cargo,
    refused,
    score,
    was_heard_since,
)
from archipelag_coordinator.domain.shelf import Entry, Shelf

LOOKED_MAX: Final = 64
"""Islands that are compared for one job, unless that does not suffice to know that one is among the best."""
SAME_CLASS_POINTS: Final = 1.0
"""What the preference for the same class gives: more than all others together could make up for."""
OF_ANY_CARGO: Final = tuple(
    rule.__name__ for rule in (is_approved, is_ready, was_heard_since, is_in_reach)
)
"""Rules that an Island fails whatever is wanted of it; they come first."""

Scored = tuple[float, Candidate]


def look(
    shelf: Shelf,
    wanted: Wanted,
    chance: float,
    *,
    asked: int,
    standing: Mapping[str, int],
    others: Iterable[Candidate],
    remembering: Sequence[Candidate] = (),
    looked_max: int = LOOKED_MAX,
) -> Look:
    """`asked` Islands there are in all; `standing`: how many fail which rule of OF_ANY_CARGO. `others` are Islands that
    offer another Cargo, to name some where nobody can take the job. `remembering`: some of those that could take it and
    hold a beginning of its prompt; the shelf knows nothing of that."""
    skip = wanted.avoid | wanted.lost
    found, looked, unseen = _best(shelf, wanted, chance, skip, looked_max)
    known = {island.island_id: island for island in remembering}
    found, more = _with_memory(found, known, wanted, skip)
    looked += more
    back = [
        known.get(one, entry.candidate)
        for one in sorted(wanted.lost)
        if (entry := shelf.entries.get(one)) and first_refusal(wanted, entry.candidate) is None
    ]
    counted = _kept_out(shelf, wanted, asked, standing)
    able = counted.pop("", 0)
    against: list[Verdict] = []
    if found:
        counted["not_lost_before"] = len(back)
        able -= len(back)
        against = [refused(island, LOST_BEFORE) for island in back]
    else:
        found = [(score(wanted, island), island) for island in back]
    if len(found) + len(against) < REASONS_MAX:
        against += islice(_refusals(shelf, wanted, others, bool(found)), REASONS_MAX)
    return Look(found, against, asked, able, obstacles(counted), looked, unseen)


def _best(
    shelf: Shelf, wanted: Wanted, chance: float, skip: frozenset[IslandId], looked_max: int
) -> tuple[list[Scored], int, float]:
    """Some of the best, how many were looked at, and what none of the others exceeds."""
    needed = wanted.determinism_class
    looked = 0
    if needed:
        entries = shelf.order(wanted.prompt_tokens, needed).best_first(chance)
        found, looked, unseen = _compare(entries, wanted, skip, looked_max, SAME_CLASS_POINTS)
        if found or wanted.same_class_only:
            return found, looked, unseen
    entries = shelf.order(wanted.prompt_tokens).best_first(chance)
    found, more, unseen = _compare(entries, wanted, skip, looked_max, 0.0)
    return found, looked + more, unseen


def _compare(
    entries: Iterator[tuple[Entry, float]],
    wanted: Wanted,
    skip: frozenset[IslandId],
    looked_max: int,
    points: float,
) -> tuple[list[Scored], int, float]:
    found: list[Scored] = []
    best, looked = 0.0, 0
    for entry, bound in entries:
        if looked >= looked_max and found and best >= bound + points - NEAR_EQUAL:
            return found, looked, bound + points
        looked += 1
        island = entry.candidate
        if island.island_id in skip:
            continue
        scored = score(wanted, island)
        best = max(best, scored)
        found.append((scored, island))
    return found, looked, 0.0


def _with_memory(
    found: list[Scored],
    known: Mapping[IslandId, Candidate],
    wanted: Wanted,
    skip: frozenset[IslandId],
) -> tuple[list[Scored], int]:
    """Those found and those that remember, each once, and how many of them were not found by looking."""
    if not known:
        return found, 0
    others = [pair for pair in found if pair[1].island_id not in known]
    ours = [(score(wanted, one), one) for one in known.values() if one.island_id not in skip]
    return others + ours, len(others) + len(ours) - len(found)


def _kept_out(
    shelf: Shelf, wanted: Wanted, asked: int, standing: Mapping[str, int]
) -> Counter[str]:
    """How many Islands each rule keeps out of this job; under "", how many none does."""
    of_shelf: Counter[str] = Counter()
    wrong_class = wanted.same_class_only and wanted.determinism_class
    for (refusal, offered_class), count in shelf.refusals.items():
        rule = refusal or ""
        if wrong_class and rule in ("", has_free_slot.__name__) and offered_class != wrong_class:
            rule = continues_in_its_class.__name__
        of_shelf[rule] += count
    for one in wanted.avoid:
        entry = shelf.entries.get(one)
        if entry is not None and entry.refusal in (None, has_free_slot.__name__):
            other_class = wrong_class and entry.candidate.determinism_class != wrong_class
            counted = continues_in_its_class.__name__ if other_class else entry.refusal or ""
            of_shelf[counted] -= 1
            of_shelf[not_tried_before.__name__] += 1
    counted_out = Counter({rule: count for rule, count in standing.items() if count})
    working = asked - sum(standing.values())
    for rule in OF_ANY_CARGO:
        of_shelf.pop(rule, None)
    counted_out[offers_cargo.__name__] = working - sum(of_shelf.values())
    return counted_out + of_shelf


def _refusals(
    shelf: Shelf, wanted: Wanted, others: Iterable[Candidate], placed: bool
) -> Iterator[Verdict]:
    """Some that are kept out and why, those who have the Cargo first. Where the job is placed, only a few are asked."""
    islands = chain((entry.candidate for entry in shelf.entries.values()), others)
    for island in islice(islands, REASONS_MAX if placed else None):
        if (refusal := first_refusal(wanted, island)) is not None:
            yield refused(island, refusal[1])
