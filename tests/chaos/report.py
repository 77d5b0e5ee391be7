"""What a run showed: the table of faults, the pauses that readers saw, and promises that were broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

from .checkers import Attempt, Books
from .faults import Strike
from .readers import Reading

BLAMED_S = 60.0
"""An attempt that ends longer after a strike was not ended by it."""
SHOWN_MAX = 5
LONGEST = 2
LONG_S = 5.0
"""A pause beyond this is told of in detail."""


@dataclass(frozen=True)
class Move:
    """A stream that went on elsewhere. `pause_s`: from the last item before to the first after, at its reader."""

    job: str
    island: str
    at: int
    cause: str
    pause_s: float | None
    """None where nothing had been said yet, or where reader and move cannot be matched."""


@dataclass
class Outcome:
    """What one scenario showed."""

    name: str
    readings: Sequence[Reading]
    books: Books
    strikes: Sequence[Strike]
    broken: dict[str, list[str]]
    took_s: float
    notes: list[str] = field(default_factory=list)

    @property
    def moves(self) -> list[Move]:
        return list(moves(self.books, self.readings))

    @property
    def kept(self) -> bool:
        return not self.broken


def moves(books: Books, readings: Sequence[Reading]) -> Iterator[Move]:
    """Every attempt that ended early and was followed by another one with something to add."""
    for reading in readings:
        for job in (books.jobs[j] for j in reading.jobs if j in books.jobs):
            tried = [a for a in job.attempts if a.status != "refused"]
            for lost, following in pairwise(tried):
                pause = _pause(reading, following.first)
                yield Move(job.id, lost.island, following.first, lost.cause or "", pause)


def _pause(reading: Reading, at: int) -> float | None:
    before = [r.at for r in reading.receipts if r.position <= at]
    after = [r.at for r in reading.receipts if r.position > at]
    # Only who waits for every word has seen a pause: a job that is followed may wait for its lease.
    if reading.ask.door != "chat":
        return None
    return after[0] - before[-1] if at and before and after else None


def percentile(values: Sequence[float], share: float) -> float:
    """NaN where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def show(outcome: Outcome) -> Iterator[str]:
    """Lines for a person."""
    readings = outcome.readings
    whole = sum(1 for reading in readings if reading.done)
    positions = sum(reading.position for reading in readings)
    attempts = sum(len(job.attempts) for job in outcome.books.jobs.values())
    charged = sum(job.charged for job in outcome.books.jobs.values())
    yield f"== {outcome.name}: {'kept' if outcome.kept else 'BROKEN'}, {outcome.took_s:.0f} s"
    yield (
        f"   {whole:,} of {len(readings):,} streams complete, {positions:,} positions, "
        f"{len(outcome.books.jobs):,} jobs, {attempts:,} attempts, {charged:,} micro-credits charged"
    )
    yield from _jobs_ended_badly(outcome.books)
    yield from _pauses(outcome.moves)
    yield from _longest(outcome)
    yield from _comebacks(readings)
    yield from table([outcome])
    yield from (f"   {note}" for note in outcome.notes)
    for promise, complaints in outcome.broken.items():
        yield f"   BROKEN {promise}: {len(complaints)}"
        yield from (f"      {complaint}" for complaint in complaints[:SHOWN_MAX])


def _jobs_ended_badly(books: Books) -> Iterator[str]:
    ended = Counter(
        f"{job.status} ({job.cause})" for job in books.jobs.values() if job.status != "succeeded"
    )
    if ended:
        told = ", ".join(f"{count} × {how}" for how, count in ended.most_common())
        yield f"   jobs that did not succeed: {told}"


def _pauses(moved: Sequence[Move]) -> Iterator[str]:
    if not moved:
        return
    pauses = [move.pause_s for move in moved if move.pause_s is not None]
    streams = len({move.job for move in moved})
    at = [move.at for move in moved]
    yield (
        f"   {streams:,} streams moved {len(moved):,} times, at positions {min(at)} to {max(at)}, "
        f"{sum(1 for move in moved if not move.at)} before the first word"
    )
    if pauses:
        yield (
            f"   pause at a failover: p50 {percentile(pauses, 0.5):.2f} s, "
            f"p99 {percentile(pauses, 0.99):.2f} s, max {max(pauses):.2f} s ({len(pauses)} measured)"
        )


def _longest(outcome: Outcome) -> Iterator[str]:
    """How the longest pauses came about, attempt by attempt."""
    long = [m for m in outcome.moves if m.pause_s is not None and m.pause_s > LONG_S]
    for move in sorted(long, key=lambda m: -(m.pause_s or 0))[:LONGEST]:
        yield f"   a pause of {move.pause_s:.1f} s at position {move.at} of {move.job}:"
        for attempt in outcome.books.jobs[move.job].attempts:
            ended = f"{attempt.ended_at:%H:%M:%S.%f}"[:-4] if attempt.ended_at else "-"
            yield (
                f"      epoch {attempt.epoch} on {attempt.island[-6:]}, {attempt.first} to "
                f"{attempt.next}, {attempt.assigned_at:%H:%M:%S.%f}"[:-4]
                + f" to {ended}: {attempt.status}, {attempt.cause} {attempt.reason[:100]}"
            )


def _comebacks(readings: Sequence[Reading]) -> Iterator[str]:
    breaks = Counter(what for reading in readings for _, what in reading.breaks)
    refusals = sum((reading.refusals for reading in readings), Counter())
    if breaks:
        back = [p for reading in readings for p in gaps(reading)]
        told = ", ".join(f"{count} × {what}" for what, count in breaks.most_common())
        yield f"   readers came back {sum(breaks.values())} times ({told})"
        if back:
            yield (
                f"   from a broken line to the next item: p50 {percentile(back, 0.5):.2f} s, "
                f"p99 {percentile(back, 0.99):.2f} s, max {max(back):.2f} s"
            )
    if refusals:
        told = ", ".join(f"{count} × {what}" for what, count in refusals.most_common())
        yield f"   told to come later: {told}"


def gaps(reading: Reading) -> Iterator[float]:
    """For each break in mid-answer, how long it was from the last item before to the first one after."""
    for at, _ in reading.breaks:
        before = [r.at for r in reading.receipts if r.at <= at]
        after = [r.at for r in reading.receipts if r.at > at]
        if before and after:
            yield after[0] - before[-1]


@dataclass
class Row:
    """One line of the table of faults."""

    fault: str
    times: int = 0
    hit: list[Move] = field(default_factory=list)
    """Attempts that it ended."""
    broke: int = 0
    """Readers whose line broke while it lasted."""
    quiet_s: list[float] = field(default_factory=list)
    """For each reader of that time, its longest wait for something new."""


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """The table of faults, over one scenario or many."""
    found: dict[str, Row] = {}
    for outcome in outcomes:
        for strike in outcome.strikes:
            row = found.setdefault(strike.fault, Row(strike.fault))
            row.times += 1
            row.broke += sum(_broke(strike, reading) for reading in outcome.readings)
            if not strike.target_id:
                quiet = (quiet_of(strike, reading) for reading in outcome.readings)
                row.quiet_s += [wait for wait in quiet if wait is not None]
        for name, hit in blame(outcome).items():
            found.setdefault(name, Row(name)).hit += hit
    return list(found.values())


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Name, how often, streams that it moved, the pauses they saw, and what else happened."""
    told = rows(outcomes)
    if not told:
        return
    yield f"   {'fault':<27}{'times':>6}{'moved':>7}{'pause p50/p99/max':>22}  what happened"
    for row in told:
        pauses = [move.pause_s for move in row.hit if move.pause_s is not None]
        causes = Counter(move.cause for move in row.hit)
        what = [f"{count} {cause}" for cause, count in causes.most_common()]
        if row.broke:
            what.append(f"{row.broke} lines broke")
        if row.quiet_s:
            what.append(f"a reader waited {_spread(row.quiet_s)}")
        spread = _spread(pauses) if pauses else "-"
        yield f"   {row.fault:<27}{row.times:>6}{len(row.hit):>7}{spread:>22}  {'; '.join(what) or 'nothing'}"


def _spread(values: Sequence[float]) -> str:
    shares = (percentile(values, 0.5), percentile(values, 0.99), max(values))
    return "/".join(f"{share:.2f}" for share in shares) + " s"


def blame(outcome: Outcome) -> dict[str, list[Move]]:
    """By fault, the moves that it caused: those of attempts on the struck Island that ended soon after."""
    found: dict[str, list[Move]] = {}
    for move in outcome.moves:
        job = outcome.books.jobs[move.job]
        lost = next(
            (a for a in job.attempts if a.island == move.island and a.next == move.at), None
        )
        strike = _latest(outcome, lost) if lost is not None else None
        found.setdefault(strike.fault if strike else "(none)", []).append(move)
    return found


def _latest(outcome: Outcome, lost: Attempt) -> Strike | None:
    if lost.ended_at is None:
        return None
    earlier = [
        strike
        for strike in outcome.strikes
        if (strike.target_id in (lost.island, ""))
        and timedelta() <= lost.ended_at - strike.at < timedelta(seconds=BLAMED_S)
    ]
    return max(earlier, key=lambda strike: strike.at) if earlier else None


def _broke(strike: Strike, reading: Reading) -> bool:
    until = strike.ended if strike.ended is not None else float("inf")
    return any(strike.began <= at <= until + 1 for at, _ in reading.breaks)


def quiet_of(strike: Strike, reading: Reading) -> float | None:
    """The longest wait of this reader, for an item or the end, that overlaps the strike. None: it did not read then, or
    wanted its answer in one piece."""
    if reading.ask.door == "whole":
        return None
    until = strike.ended if strike.ended is not None else float("inf")
    times = [reading.began, *(receipt.at for receipt in reading.receipts), reading.ended]
    waits = [b - a for a, b in pairwise(times) if b >= strike.began and a <= until]
    return max(waits) if waits else None
