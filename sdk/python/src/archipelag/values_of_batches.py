"""Many jobs at once, pictures and vectors, as frozen values."""

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
class BatchItem:
    """Where one job of a batch stands: `pending` until its turn comes."""

    job_id: str
    status: str
    error: str | None
    usage: Usage | None


@dataclass(frozen=True)
class Batch:
    """Jobs that were asked for together. `items` and what follows stand only where its status was asked for."""

    id: str
    status: str
    """running, stopping, completed, failed or cancelled."""
    workload: str
    total: int
    counts: Mapping[str, int]
    """How many are queued, running, completed, failed, cancelled."""
    jobs: tuple[str, ...]
    """Ids, in the order of the inputs."""
    error: str | None
    created_at: datetime | None
    completed_at: datetime | None
    items: tuple[BatchItem, ...]
    usage: Usage | None
    output: str | list[Any] | None
    """What they say together, once all have ended: text for `concat`, a list for `flatten`."""
    output_omitted: bool
    """It is too large to stand here: read the jobs' own."""
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


def batch(raw: Any) -> Batch:
    raw = table(raw, "a batch")
    counts = raw.get("counts")
    counts = counts if isinstance(counts, Mapping) else {}
    return Batch(
        id=values.text(raw, "id"),
        status=values.text(raw, "status"),
        workload=str(raw.get("workload_slug") or ""),
        total=values.whole(raw.get("total")),
        counts={str(name): values.whole(count) for name, count in counts.items()},
        jobs=tuple(map(str, values.rows(raw.get("jobs")))),
        error=raw.get("error"),
        created_at=moment(raw.get("created_at")),
        completed_at=moment(raw.get("completed_at")),
        items=tuple(map(_item, values.rows(raw.get("items")))),
        usage=values.usage(raw.get("usage")),
        output=raw.get("output"),
        output_omitted=raw.get("output_omitted") is True,
        raw=raw,
    )


def _item(raw: Any) -> BatchItem:
    raw = table(raw, "a job of a batch")
    return BatchItem(
        values.text(raw, "job_id"),
        values.text(raw, "status"),
        raw.get("error"),
        values.usage(raw.get("usage")),
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
