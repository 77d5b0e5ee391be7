"""What a soak showed, and the verdict: each promise with what broke it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.checkers import (
    CHECKS,
    Books,
    Check,
    every_job_has_ended_well,
    every_reader_came_to_the_end,
)
from tests.chaos.faults import Strike
from tests.chaos.readers import Reading

from .crowd import Kind, Seen, Told
from .gauges import Growth, Sample

GROWTH_MB_PER_H: Final = {"Coordinator": 60.0, "Island": 30.0, "NATS": 60.0, "PostgreSQL": 60.0}
"""How much a kind of part may grow before it counts as growth; what the samples of a few minutes cannot tell apart from
nothing is below it."""
ROOM: Final = {": open files": 12, ": connections of clients": 32}
"""By the ends of names, how much more there may be after one crowd than after another: pools are filled by chance."""
OURS_TO_MEND: Final = re.compile(r"^50[024] ")
"""Answers that nobody is promised, whatever is being replaced."""
TROUBLE: Final = re.compile(
    r"^\d\S+ \S+ (?:ERROR|CRITICAL) (.*)|^(\w[\w.]*(?:Error|Exception)\b.*)"
)
VARIES: Final = re.compile(r"\b(?=\w*\d)[\w.:-]{4,}|\d+")


@dataclass
class Figures:
    """All that a soak measured. Times of samples and strikes are by the monotonic clock, from `began` on."""

    began: float
    took_s: float
    streams: int
    seen: Seen
    positions: int
    strikes: Sequence[Strike]
    samples: Sequence[Sample]
    growth: Sequence[Growth]
    refusals: Counter[str]
    breaks: int
    """Lines of readers that broke."""
    jobs: Counter[str]
    """By how they ended."""
    attempts: int
    charged: int
    sizes: Sequence[tuple[str, int, int]] = ()
    troubles: Mapping[str, int] = field(default_factory=dict)
    """Errors in the logs of all parts, by what they say."""
    processor: Mapping[str, float] = field(default_factory=dict)
    """Cores, on average, by kind of part."""
    broken: dict[str, list[str]] = field(default_factory=dict)
    """By promise."""

    @property
    def kept(self) -> bool:
        return not self.broken


# --- Promises ------------------------------------------------------------------------------------------------------


def jobs_ended_well_or_were_cancelled(books: Books, readings: Sequence[Reading]) -> Iterator[str]:
    """Or were given up, for nothing, after their reader had left for good and their Coordinator was replaced."""
    left = {
        job
        for told in readings
        if isinstance(told, Told) and told.kind is Kind.LEAVES
        for job in told.jobs
    }
    for job in books.jobs.values():
        given_up = job.cause == "coordinator_lost" and job.id in left and not job.charged
        if job.status not in ("succeeded", "cancelled") and not given_up:
            yield f"{job.id} is {job.status}: {job.cause}, {job.error}"


def cancelled_jobs_cost_what_was_delivered(books: Books, _: Sequence[Reading]) -> Iterator[str]:
    """Or nothing: if nothing was, or where the Coordinator was gone and nobody came back."""
    for job in books.jobs.values():
        if job.status != "cancelled":
            continue
        price = books.prices[job.slug]
        due = (
            price.job_ucredits
            + price.prompt_token_ucredits * job.prompt_tokens
            + price.output_item_ucredits * job.delivered
        )
        if job.charged not in (0, due):
            yield f"{job.id}: {job.charged} charged for {job.delivered} delivered, {due} were due"


IMPATIENT_CHECKS: Final[tuple[Check, ...]] = (
    *(c for c in CHECKS if c not in (every_job_has_ended_well, every_reader_came_to_the_end)),
    jobs_ended_well_or_were_cancelled,
    cancelled_jobs_cost_what_was_delivered,
)
"""For a customer whose readers leave and cancel."""


def nobody_was_told_of_a_fault_of_ours(refusals: Mapping[str, int]) -> Iterator[str]:
    for said, count in refusals.items():
        if OURS_TO_MEND.match(said):
            yield f"{count} × {said}"


def memory_does_not_grow(growth: Iterable[tuple[str, Growth]]) -> Iterator[str]:
    """Of each part with its kind."""
    for kind, one in growth:
        bound = GROWTH_MB_PER_H[kind]
        if one.mb_per_h is not None and one.mb_per_h > bound:
            yield f"{one.part} grows by {one.mb_per_h:.0f} MB an hour; {bound:.0f} are allowed"


def nothing_is_left(more: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    for name, (before, now) in more.items():
        room = sum(most for end, most in ROOM.items() if name.endswith(end))
        if now > before + room:
            yield f"{name}: {now}, {before} before"


# --- Logs ----------------------------------------------------------------------------------------------------------


def troubles(logs: Iterable[Path]) -> Counter[str]:
    """Errors and the last lines of tracebacks, without what differs from one to the next."""
    found: Counter[str] = Counter()
    for log in logs:
        with log.open(errors="replace") as lines:
            for line in lines:
                if told := TROUBLE.match(line):
                    found[VARIES.sub("…", told[1] or told[2])[:160]] += 1
    return found
