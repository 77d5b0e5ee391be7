"""Whose job is next: nobody gets another slot while somebody with fewer waits for the same Cargo.

Max-min fairness over slots (Bertsekas and Gallager, Data Networks, 1992, 6.5.2), counted in attempts, not in seconds:
an account's jobs of one Cargo form a line, and the first of each line have the same turn, however long the line is.
Priority orders an account's own line only: it costs nothing, so it may not buy anybody else's turn.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from archipelag_contracts.ids import CargoDigest, UserId

from archipelag_coordinator.domain.job import Job, JobStatus

_Line = tuple[UserId, CargoDigest]


def in_turn(jobs: Iterable[Job]) -> list[Job]:
    """The queued ones of these. Those that run count against their account's line."""
    running: Counter[_Line] = Counter()
    lines: defaultdict[_Line, list[Job]] = defaultdict(list)
    for job in jobs:
        line = (job.user_id, job.cargo_digest)
        if job.status is JobStatus.RUNNING:
            running[line] += 1
        elif job.status is JobStatus.QUEUED:
            lines[line].append(job)
    turns = []
    for line, queued in lines.items():
        queued.sort(key=lambda job: (-job.priority, job.created_at, job.id))
        turns += [
            (running[line] + place, job.created_at, job.id, job) for place, job in enumerate(queued)
        ]
    return [turn[-1] for turn in sorted(turns, key=lambda turn: turn[:3])]
