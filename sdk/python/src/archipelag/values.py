"""What the API gives back, as frozen values; unknown fields stay readable in `raw`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from archipelag.errors import BadAnswerError

FINISHED: Final = frozenset({"completed", "failed", "cancelled", "timeout"})


@dataclass(frozen=True)
class Usage:
    """What a request used. Credits are exact decimals."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    credits_used: Decimal | None = None
    cached_tokens: int = 0
    """Of the prompt, what its Island did not have to read again; 0 where it is not known."""


@dataclass(frozen=True)
class Attempt:
    """One try of a job on one Island."""

    island: str
    epoch: int
    reason: str = ""
    status: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Job:
    id: str
    status: str
    workload: str
    input: Mapping[str, Any]
    output: str | None
    error: str | None
    created_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: int | None
    usage: Usage | None
    attempts: tuple[Attempt, ...]
    waiting_for: tuple[str, ...]
    """Why no Island has taken it yet."""
    finish_reason: str | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def finished(self) -> bool:
        return self.status in FINISHED


@dataclass(frozen=True)
class JobEvent:
    """One event of a job's stream; `type` is token, status, progress, image, error or done."""

    type: str
    id: str = ""
    text: str = ""
    step: int | None = None
    total: int | None = None
    reasons: tuple[str, ...] = ()
    """Why it still waits."""
    ahead: int | None = None
    """Jobs before one that waits; told again when that has changed."""
    expected_wait_s: float | None = None
    """How long they take; None also where nothing tells."""
    finish_reason: str | None = None
    code: str | None = None
    """What went wrong, where it ends as an error."""
    usage: Usage | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class ChatPiece:
    """A piece of an answer as it is made. `usage` stands on the last one."""

    text: str
    job_id: str = ""
    island: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True)
class ChatAnswer:
    text: str
    job_id: str
    island: str
    model: str
    finish_reason: str | None
    usage: Usage | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Account:
    id: str
    email: str
    credits: Decimal
    held: Decimal
    """Of them, what is reserved for work that has not ended."""
    available: Decimal
    role: str
    created_at: datetime | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Model:
    id: str
    owned_by: str
    kind: str
    """chat, embeddings, image, transcription or speech."""
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class File:
    """A file that the network keeps for you: uploaded, or made by a job."""

    id: str
    name: str
    size_bytes: int
    media_type: str
    sha256: str
    purpose: str
    created_at: datetime | None
    expires_at: datetime | None
    job_id: str | None
    """The job that made it."""
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Workload:
    """A Cargo of the catalogue."""

    id: int
    slug: str
    name: str
    description: str
    kind: str
    """chat, embeddings, image …, or json: an object in, an object out."""
    model: str | None
    price_per_job: Decimal | None
    is_enabled: bool
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Island:
    """An Island that one may see."""

    id: str
    name: str
    status: str
    region: str
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Karma:
    """What is held for and against an Island. One point is an hour of good work."""

    points: float
    tier: str
    payout_open: bool
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class UsageRow:
    """One attempt of one's Island: how it ended and what it was paid."""

    job_id: str
    epoch: int
    cause: str
    first_position: int
    next_position: int
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class ApiKey:
    """`key` is the secret; the API shows it once, when the key is made."""

    id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime | None
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    budget: Decimal | None
    used: Decimal
    rate_per_minute: int | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Stats:
    online_islands: int
    jobs_completed: int
    raw: Mapping[str, Any] = field(repr=False, compare=False)


def usage(raw: Any) -> Usage | None:
    if not isinstance(raw, Mapping):
        return None
    prompt, completion = whole(raw.get("prompt_tokens")), whole(raw.get("completion_tokens"))
    total = whole(raw.get("total_tokens")) or prompt + completion
    details = raw.get("prompt_tokens_details")
    cached = whole(details.get("cached_tokens")) if isinstance(details, Mapping) else 0
    return Usage(prompt, completion, total, money(raw.get("credits_used")), cached)


def job(raw: Any) -> Job:
    raw = table(raw, "a job")
    given = raw.get("input")
    return Job(
        id=text(raw, "id"),
        status=text(raw, "status"),
        workload=str(raw.get("workload_slug") or raw.get("workload") or ""),
        input=given if isinstance(given, Mapping) else {},
        output=raw.get("output"),
        error=raw.get("error"),
        created_at=moment(raw.get("created_at")),
        started_at=moment(raw.get("started_at")),
        completed_at=moment(raw.get("completed_at")),
        duration_ms=raw.get("duration_ms"),
        usage=usage(raw.get("usage")),
        attempts=tuple(map(attempt, rows(raw.get("attempts")))),
        waiting_for=tuple(map(str, rows(raw.get("waiting_for")))),
        finish_reason=raw.get("finish_reason"),
        raw=raw,
    )


def attempt(raw: Any) -> Attempt:
    raw = table(raw, "an attempt")
    island = raw.get("island") or raw.get("island_name") or raw.get("island_id") or ""
    if isinstance(island, Mapping):
        island = island.get("name") or island.get("id") or ""
    return Attempt(
        str(island),
        whole(raw.get("epoch")),
        str(raw.get("reason") or ""),
        str(raw.get("status") or ""),
        raw,
    )


def job_event(raw: Any, event_id: str) -> JobEvent:
    raw = table(raw, "an event")
    said = raw.get("content") or raw.get("note") or raw.get("error") or ""
    if isinstance(said, Mapping):
        said = said.get("message") or ""
    return JobEvent(
        type=text(raw, "type"),
        id=event_id,
        text=str(said),
        step=raw.get("step"),
        total=raw.get("total"),
        reasons=tuple(map(str, rows(raw.get("reasons")))),
        ahead=raw.get("ahead"),
        expected_wait_s=raw.get("expected_wait_s"),
        finish_reason=raw.get("finish_reason"),
        code=raw.get("code"),
        usage=usage(raw.get("usage")),
        raw=raw,
    )


def chat_answer(raw: Any, job_id: str, island: str) -> ChatAnswer:
    raw = table(raw, "an answer")
    choices = raw.get("choices")
    if not isinstance(choices, list) or not choices:
        raise BadAnswerError("the answer has no choices")
    choice = table(choices[0], "a choice")
    message = table(choice.get("message"), "a message")
    return ChatAnswer(
        text=str(message.get("content") or ""),
        job_id=job_id,
        island=island,
        model=str(raw.get("model") or ""),
        finish_reason=choice.get("finish_reason"),
        usage=usage(raw.get("usage")),
        raw=raw,
    )


def chat_piece(raw: Any, job_id: str, island: str) -> ChatPiece:
    """One chunk of OpenAI's shape; the one with the usage has no choices."""
    raw = table(raw, "a chunk")
    choices = raw.get("choices")
    choice = table(choices[0], "a choice") if isinstance(choices, list) and choices else {}
    delta = choice.get("delta")
    said = delta.get("content") if isinstance(delta, Mapping) else ""
    return ChatPiece(
        str(said or ""), job_id, island, choice.get("finish_reason"), usage(raw.get("usage"))
    )


def account(raw: Any) -> Account:
    raw = table(raw, "an account")
    balance = money(raw.get("credits")) or Decimal(0)
    held = money(raw.get("held")) or Decimal(0)
    available = money(raw.get("available"))
    return Account(
        text(raw, "id"),
        str(raw.get("email") or ""),
        balance,
        held,
        balance - held if available is None else available,
        str(raw.get("role") or ""),
        moment(raw.get("created_at")),
        raw,
    )


def model(raw: Any) -> Model:
    raw = table(raw, "a model")
    kind = str(raw.get("kind") or "chat")
    return Model(text(raw, "id"), str(raw.get("owned_by") or ""), kind, raw)


def file(raw: Any) -> File:
    raw = table(raw, "a file")
    job_id = raw.get("job_id")
    return File(
        text(raw, "id"),
        str(raw.get("filename") or ""),
        whole(raw.get("bytes")),
        str(raw.get("media_type") or ""),
        str(raw.get("sha256") or ""),
        str(raw.get("purpose") or ""),
        _at(raw.get("created_at")),
        _at(raw.get("expires_at")),
        None if job_id is None else str(job_id),
        raw,
    )


def _at(raw: Any) -> datetime | None:
    return datetime.fromtimestamp(raw, UTC) if isinstance(raw, int) and raw else None


def workload(raw: Any) -> Workload:
    raw = table(raw, "a workload")
    return Workload(
        whole(raw.get("id")),
        text(raw, "slug"),
        str(raw.get("name") or ""),
        str(raw.get("description") or ""),
        str(raw.get("kind") or ""),
        raw.get("model"),
        money(raw.get("price_per_job")),
        bool(raw.get("is_enabled", True)),
        raw,
    )


def island(raw: Any) -> Island:
    raw = table(raw, "an Island")
    return Island(
        text(raw, "id"),
        str(raw.get("name") or ""),
        str(raw.get("status") or ""),
        str(raw.get("region") or ""),
        raw,
    )


def karma(raw: Any) -> Karma:
    raw = table(raw, "an Island's karma")
    points = raw.get("points")
    return Karma(
        float(points) if isinstance(points, int | float) else 0.0,
        text(raw, "tier"),
        raw.get("payout_open") is True,
        raw,
    )


def usage_row(raw: Any) -> UsageRow:
    raw = table(raw, "a row of usage")
    return UsageRow(
        text(raw, "job_id"),
        whole(raw.get("epoch")),
        text(raw, "cause"),
        whole(raw.get("first_position")),
        whole(raw.get("next_position")),
        raw,
    )


def api_key(raw: Any, secret: str | None = None) -> ApiKey:
    raw = table(raw, "a key")
    return ApiKey(
        text(raw, "id"),
        str(raw.get("name") or ""),
        str(raw.get("prefix") or ""),
        tuple(map(str, rows(raw.get("scopes")))),
        moment(raw.get("created_at")),
        moment(raw.get("last_used_at")),
        moment(raw.get("expires_at")),
        moment(raw.get("revoked_at")),
        money(raw.get("budget")),
        money(raw.get("used")) or Decimal(0),
        raw.get("rate_per_minute"),
        raw,
        secret,
    )


def stats(raw: Any) -> Stats:
    raw = table(raw, "statistics")
    return Stats(whole(raw.get("online_islands")), whole(raw.get("jobs_completed")), raw)


def table(raw: Any, what: str) -> Mapping[str, Any]:
    """`raw`, once it is a JSON object. Raises BadAnswerError."""
    if not isinstance(raw, Mapping):
        raise BadAnswerError(f"the answer is not {what}")
    return raw


def rows(raw: Any) -> list[Any]:
    """A list, or an empty one where there is none."""
    return raw if isinstance(raw, list) else []


def money(raw: Any) -> Decimal | None:
    """Exact credits from text or number."""
    if raw is None or isinstance(raw, bool):
        return None
    try:
        return Decimal(str(raw))
    except InvalidOperation:
        raise BadAnswerError(f"not an amount: {str(raw)[:50]!r}") from None


def moment(raw: Any) -> datetime | None:
    if not isinstance(raw, str):
        return None
    try:
        return datetime.fromisoformat(raw)
    except ValueError:
        raise BadAnswerError(f"not a time: {raw[:50]!r}") from None


def text(raw: Mapping[str, Any], name: str) -> str:
    """A field that must be there. Raises BadAnswerError."""
    value = raw.get(name)
    if value is None:
        raise BadAnswerError(f"the answer has no {name!r}")
    return str(value)


def whole(raw: Any) -> int:
    """A whole number, or 0 where there is none."""
    return raw if isinstance(raw, int) else 0
