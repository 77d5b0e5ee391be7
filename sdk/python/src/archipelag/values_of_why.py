"""The network's reasons, as frozen values: why this Island, why still waiting, why no work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from archipelag import values
from archipelag.values import moment, table


@dataclass(frozen=True)
class Obstacle:
    """A rule that kept `count` Islands out, and what it means."""

    rule: str
    meaning: str
    count: int


@dataclass(frozen=True)
class Preference:
    """What one preference gave an Island: `gave` = `weight` · `value`."""

    name: str
    weight: float
    value: float
    gave: float


@dataclass(frozen=True)
class AttemptWhy:
    """Why an attempt went to this Island: of `asked`, `fit` could take it."""

    epoch: int
    island: str
    status: str
    why: str
    score: float
    asked: int
    fit: int
    preferences: tuple[Preference, ...]
    kept_out: tuple[Obstacle, ...]
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Waiting:
    """Why a job still waits, as it is now, and what would help. `ahead` jobs are before it; `expected_wait_s` is None
    where nothing tells, as of an older Coordinator."""

    since: datetime | None
    until: datetime | None
    asked: int
    fit: int
    reasons: tuple[Obstacle, ...]
    hint: str
    ahead: int = 0
    expected_wait_s: float | None = None


@dataclass(frozen=True)
class JobWhy:
    """`waiting` is None for a job that does not wait. `reader_round_trip_ms` is the way to whoever last followed its
    stream where this was asked, or to the proxy before them, and back; None where nothing tells."""

    job_id: str
    status: str
    attempts: tuple[AttemptWhy, ...]
    waiting: Waiting | None
    reader_round_trip_ms: float | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class IslandReason:
    code: str
    reason: str


@dataclass(frozen=True)
class IslandWhy:
    """Why an Island gets no work, or that it does. What holds for each of its Cargos stands in `raw`."""

    island_id: str
    gets_work: bool
    reasons: tuple[IslandReason, ...]
    raw: Mapping[str, Any] = field(repr=False, compare=False)


def job_why(raw: Any) -> JobWhy:
    raw = table(raw, "a job's reasons")
    waiting = raw.get("waiting")
    return JobWhy(
        values.text(raw, "job_id"),
        values.text(raw, "status"),
        tuple(map(_attempt, values.rows(raw.get("attempts")))),
        None if waiting is None else _waiting(waiting),
        _known(raw.get("reader_round_trip_ms")),
        raw,
    )


def island_why(raw: Any) -> IslandWhy:
    raw = table(raw, "an Island's reasons")
    reasons = (table(one, "a reason") for one in values.rows(raw.get("reasons")))
    return IslandWhy(
        values.text(raw, "island_id"),
        raw.get("gets_work") is True,
        tuple(
            IslandReason(values.text(one, "code"), str(one.get("reason") or "")) for one in reasons
        ),
        raw,
    )


def _attempt(raw: Any) -> AttemptWhy:
    raw = table(raw, "an attempt's reasons")
    return AttemptWhy(
        values.whole(raw.get("epoch")),
        str(raw.get("island") or raw.get("island_id") or ""),
        str(raw.get("status") or ""),
        str(raw.get("why") or ""),
        _number(raw.get("score")),
        values.whole(raw.get("asked")),
        values.whole(raw.get("fit")),
        tuple(map(_preference, values.rows(raw.get("preferences")))),
        tuple(map(_obstacle, values.rows(raw.get("kept_out")))),
        raw,
    )


def _waiting(raw: Any) -> Waiting:
    raw = table(raw, "why it waits")
    return Waiting(
        moment(raw.get("since")),
        moment(raw.get("until")),
        values.whole(raw.get("asked")),
        values.whole(raw.get("fit")),
        tuple(map(_obstacle, values.rows(raw.get("reasons")))),
        str(raw.get("hint") or ""),
        values.whole(raw.get("ahead")),
        _known(raw.get("expected_wait_s")),
    )


def _obstacle(raw: Any) -> Obstacle:
    raw = table(raw, "an obstacle")
    return Obstacle(
        values.text(raw, "rule"), str(raw.get("meaning") or ""), values.whole(raw.get("count"))
    )


def _preference(raw: Any) -> Preference:
    raw = table(raw, "a preference")
    weight, value, gave = (_number(raw.get(name)) for name in ("weight", "value", "gave"))
    return Preference(values.text(raw, "name"), weight, value, gave)


def _known(raw: Any) -> float | None:
    return None if raw is None else _number(raw)


def _number(raw: Any) -> float:
    return float(raw) if isinstance(raw, int | float) else 0.0
