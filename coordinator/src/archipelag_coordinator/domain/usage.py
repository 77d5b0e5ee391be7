"""What an attempt used: one row for each that ended, whatever its outcome, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from archipelag_contracts.ids import Epoch, IslandId, JobId, UserId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.attempt import Attempt, Cause

# Output that broke the protocol is not paid, and who said no did nothing; everything else that was accepted is paid.
UNPAID = frozenset({Cause.BAD_OUTPUT, Cause.REFUSED})


@dataclass(frozen=True)
class UsageRow:
    """One attempt as it is billed. Positions are those of the job's answer."""

    job_id: JobId
    epoch: Epoch
    island_id: IslandId
    owner_id: UserId
    cause: Cause
    first_position: int
    next_position: int
    """One past the last position that was accepted."""
    prompt_tokens: int
    """Of the prompt, read by this attempt, as far as it said so; never more than was reserved for."""
    reread_tokens: int
    """Prompt and answer so far, which an Island before had read already."""
    wall_ms: int
    """From the assignment to the end, by the Coordinator's clock; 0 where the Island never said yes or no."""
    at: datetime

    @property
    def positions(self) -> int:
        return self.next_position - self.first_position

    @property
    def paid_for(self) -> bool:
        """Whether its accepted positions are paid at all."""
        return self.cause not in UNPAID


@dataclass(frozen=True)
class Earned:
    """What an owner was paid within some time: out of charges, and by the insurance."""

    charged: Ucredits
    insured: Ucredits


def usage_row(attempt: Attempt, owner: UserId) -> UsageRow:
    """The row of an attempt that has ended."""
    assert attempt.ended_at is not None and attempt.cause is not None
    wall_ms = max(0, round(1000 * (attempt.ended_at - attempt.assigned_at).total_seconds()))
    if attempt.cause is Cause.REFUSED:
        wall_ms = attempt.usage.wall_ms
    return UsageRow(
        job_id=attempt.job_id,
        epoch=attempt.epoch,
        island_id=attempt.island_id,
        owner_id=owner,
        cause=attempt.cause,
        first_position=attempt.first_position,
        next_position=attempt.next_position,
        prompt_tokens=attempt.usage.prompt_tokens,
        reread_tokens=reread_tokens(attempt),
        wall_ms=wall_ms,
        at=attempt.ended_at,
    )


def reread_tokens(attempt: Attempt) -> int:
    """What it read again to go on where another Island ended; 0 unless it shows that it did."""
    if not attempt.first_position or attempt.cause in UNPAID:
        return 0
    showed = attempt.positions > 0 or attempt.cause is Cause.COMPLETED
    return attempt.usage.prompt_tokens + attempt.first_position if showed else 0


def tiles(rows: Sequence[tuple[int, int]], items: int) -> list[range]:
    """Of each attempt's accepted positions, in order of epoch, those that stand in the answer of `items` items.

    Where a later attempt made positions anew, only its own stand. So no position stands twice.
    """
    found: list[range] = []
    covered_from = items
    for first, after in reversed(rows):
        found.append(range(first, max(first, min(after, covered_from))))
        if after > first:
            covered_from = min(covered_from, first)
    found.reverse()
    return found
