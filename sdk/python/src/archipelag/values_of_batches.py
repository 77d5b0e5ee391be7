"""Many jobs at once, pictures, vectors, and what the books and the placement tell, as frozen values."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from archipelag import values
from archipelag.errors import BadAnswerError
from archipelag.values import FINISHED, Usage, moment, money, table


@dataclass(frozen=True)
class BatchJob:
    """Where one job of a batch stands. `index` is that of its input."""

    id: str
    index: int
    status: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Batch:
    """Jobs that were asked for together. `output` is what they say together, once all have ended."""

    id: str
    status: str
    total: int
    counts: Mapping[str, int]
    """How many are queued, running, completed, failed, cancelled."""
    jobs: tuple[BatchJob, ...]
    output: Any
    error: str | None
    usage: Usage | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    @property
    def ended(self) -> int:
        """How many of its jobs have ended, one way or another."""
        return sum(self.counts.get(name, 0) for name in ("completed", "failed", "cancelled"))


@dataclass(frozen=True)
class Picture:
    """A picture as it was made. The same `seed` draws the same one on Islands of the same kind."""

    data: bytes = field(repr=False)
    format: str
    width: int | None
    height: int | None
    seed: int | None
    job_id: str
    credits_used: Decimal | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Embeddings:
    """One vector for each text, in the order of the texts."""

    vectors: tuple[tuple[float, ...], ...] = field(repr=False)
    model: str
    job_id: str
    usage: Usage | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class UsageSum:
    """What was used and paid in one group: a day, a key or a workload."""

    group: str
    jobs: int
    prompt_tokens: int
    completion_tokens: int
    credits: Decimal
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Transfer:
    """One movement of one's credits: `amount` is below zero where they went away."""

    id: str
    at: datetime | None
    kind: str
    amount: Decimal
    balance: Decimal | None
    """What there was after it, where the ledger tells."""
    job_id: str | None
    key_id: str | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Earning:
    """What an Island earned in one group: a day or a workload."""

    group: str
    credits: Decimal
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Why:
    """Why a job is where it is, or an Island gets no work. `hint` is what would help; the rest stands in `raw`."""

    status: str
    hint: str
    reasons: tuple[str, ...]
    raw: Mapping[str, Any] = field(repr=False, compare=False)


def batch(raw: Any) -> Batch:
    raw = table(raw, "a batch")
    listed = raw.get("jobs")
    jobs = tuple(
        _batch_job(one, n) for n, one in enumerate(listed if isinstance(listed, list) else [])
    )
    counts = raw.get("counts")
    counts = counts if isinstance(counts, Mapping) else {}
    total = raw.get("total")
    return Batch(
        id=values.text(raw, "id"),
        status=values.text(raw, "status"),
        total=total if isinstance(total, int) else len(jobs),
        counts={str(name): count for name, count in counts.items() if isinstance(count, int)},
        jobs=jobs,
        output=raw.get("output"),
        error=raw.get("error"),
        usage=values.usage(raw.get("usage")),
        raw=raw,
    )


def _batch_job(raw: Any, index: int) -> BatchJob:
    """An id alone just after it was made, an object later."""
    if isinstance(raw, str):
        return BatchJob(raw, index)
    raw = table(raw, "a job of a batch")
    given = raw.get("index")
    return BatchJob(
        str(raw.get("id") or raw.get("job_id") or ""),
        given if isinstance(given, int) else index,
        str(raw.get("status") or ""),
        raw.get("error"),
    )


def picture(raw: Any, job_id: str) -> Picture:
    """OpenAI's answer with one picture in it."""
    raw = table(raw, "an answer")
    listed = raw.get("data")
    if not isinstance(listed, list) or not listed:
        raise BadAnswerError("the answer has no picture")
    one = table(listed[0], "a picture")
    try:
        data = base64.b64decode(str(one.get("b64_json") or ""), validate=True)
    except binascii.Error:
        raise BadAnswerError("the picture is not in base64") from None
    width, _, height = str(raw.get("size") or "").partition("x")
    usage = raw.get("usage")
    seed = one.get("seed")
    return Picture(
        data=data,
        format=str(raw.get("output_format") or "png"),
        width=int(width) if width.isdecimal() else None,
        height=int(height) if height.isdecimal() else None,
        seed=seed if isinstance(seed, int) else None,
        job_id=job_id,
        credits_used=money(usage.get("credits_used")) if isinstance(usage, Mapping) else None,
        raw=raw,
    )


def embeddings(raw: Any, job_id: str) -> Embeddings:
    raw = table(raw, "an answer")
    listed = raw.get("data")
    if not isinstance(listed, list):
        raise BadAnswerError("the answer has no vectors")
    rows = sorted(
        (table(one, "a vector") for one in listed), key=lambda one: values.whole(one.get("index"))
    )
    return Embeddings(
        tuple(_vector(one.get("embedding")) for one in rows),
        str(raw.get("model") or ""),
        job_id,
        values.usage(raw.get("usage")),
        raw,
    )


def _vector(raw: Any) -> tuple[float, ...]:
    if not isinstance(raw, list) or not all(isinstance(part, (int, float)) for part in raw):
        raise BadAnswerError("a vector is no list of numbers")
    return tuple(float(part) for part in raw)


def usage_sum(raw: Any) -> UsageSum:
    raw = table(raw, "a row of usage")
    return UsageSum(
        _group(raw),
        values.whole(raw.get("jobs")),
        values.whole(raw.get("prompt_tokens")),
        values.whole(raw.get("completion_tokens")),
        money(raw.get("credits")) or Decimal(0),
        raw,
    )


def transfer(raw: Any) -> Transfer:
    raw = table(raw, "a transfer")
    job_id = raw.get("job_id") or raw.get("job")
    key_id = raw.get("key_id") or raw.get("key")
    return Transfer(
        values.text(raw, "id"),
        moment(raw.get("at")),
        str(raw.get("kind") or ""),
        money(raw.get("amount")) or Decimal(0),
        money(raw.get("balance")),
        None if job_id is None else str(job_id),
        None if key_id is None else str(key_id),
        raw,
    )


def earning(raw: Any) -> Earning:
    raw = table(raw, "a row of earnings")
    paid = raw.get("credits") if "credits" in raw else raw.get("paid")
    return Earning(_group(raw), money(paid) or Decimal(0), raw)


def why(raw: Any) -> Why:
    raw = table(raw, "a why")
    reasons = raw.get("reasons")
    return Why(
        str(raw.get("status") or ""),
        str(raw.get("hint") or ""),
        tuple(map(_reason, reasons)) if isinstance(reasons, list) else (),
        raw,
    )


def _reason(raw: Any) -> str:
    """A sentence, or an object with one and how often it holds."""
    if not isinstance(raw, Mapping):
        return str(raw)
    said = str(raw.get("reason") or raw.get("message") or raw.get("code") or "")
    count = raw.get("count")
    return f"{said} ({count})" if isinstance(count, int) else said


def _group(raw: Mapping[str, Any]) -> str:
    for name in ("day", "key", "workload"):
        if raw.get(name) is not None:
            return str(raw[name])
    return ""
