"""How our nouns look outside: the JSON of jobs, Cargos, Islands, keys and money."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from archipelag_contracts.cosign import fingerprint, public_pem
from archipelag_contracts.manifest import Price
from archipelag_contracts.units import ZERO, to_credits
from archipelag_contracts.week import EVERY_HOUR

from archipelag_coordinator.apps.job_words import job_status_text
from archipelag_coordinator.domain.audit import Entry
from archipelag_coordinator.domain.cargo import Cargo, CargoStatus
from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.karma import POINT_MS
from archipelag_coordinator.domain.ledger import Account, PayKind
from archipelag_coordinator.domain.user import ApiKey, User
from archipelag_coordinator.domain.waits import Wait
from archipelag_coordinator.domain.wishes import Wishes, by_day
from archipelag_coordinator.services.read import AttemptView, Billed, KarmaView


def time_text(at: datetime | None) -> str | None:
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def job_object(
    job: Job, attempts: Sequence[AttemptView] | None = None, wait: Wait | None = None
) -> dict[str, Any]:
    """`attempts`, and `wait` of one that is queued, only where one job is read."""
    failed = job.status in (JobStatus.FAILED, JobStatus.CANCELLED)
    duration = job.ended_at - (job.started_at or job.created_at) if job.ended_at else None
    shown: dict[str, Any] = {
        "id": job.id,
        "workload_id": job.cargo_id,
        "workload_slug": job.cargo_slug,
        "status": job_status_text(job.status, job.cause),
        "input": json.loads(job.input),
        "output": job.output,
        "error": job.error or None if failed else None,
        "cause": job.cause.value if job.cause else None,
        "finish_reason": job.finish_reason or None,
        "priority": job.priority,
        "created_at": time_text(job.created_at),
        "started_at": time_text(job.started_at),
        "completed_at": time_text(job.ended_at),
        "deadline_at": time_text(job.deadline_at),
        "duration_ms": None if duration is None else round(duration.total_seconds() * 1000),
        "reserved": to_credits(job.reserved),
        "waiting_for": list(job.waiting_for),
        "usage": {
            "prompt_tokens": job.prompt_tokens,
            "completion_tokens": job.output_items,
            "total_tokens": job.prompt_tokens + job.output_items,
            "credits_used": to_credits(job.charged),
        },
    }
    if attempts is not None:
        shown["attempts"] = [attempt_object(attempt) for attempt in attempts]
    if wait is not None:
        shown["wait"] = wait_object(wait)
    return shown


def wait_object(wait: Wait) -> dict[str, Any]:
    """Null seconds where nothing tells."""
    seconds = None if wait.seconds is None else round(wait.seconds, 1)
    return {"ahead": wait.ahead, "expected_wait_s": seconds}


def attempt_object(view: AttemptView) -> dict[str, Any]:
    attempt = view.attempt
    chosen = attempt.island_id
    verdicts = attempt.placement.verdicts
    return {
        "epoch": attempt.epoch,
        "island_id": chosen,
        "island": next((v.name for v in verdicts if v.island_id == chosen), None),
        "status": attempt.status.value,
        "cause": attempt.cause.value if attempt.cause else None,
        "reason": attempt.reason or None,
        "placement": attempt.placement.why,
        "determinism_class": attempt.determinism_class or None,
        "assigned_at": time_text(attempt.assigned_at),
        "started_at": time_text(attempt.started_at),
        "ended_at": time_text(attempt.ended_at),
        "first_position": attempt.first_position,
        "next_position": attempt.next_position,
        "usage": None if view.billed is None else _usage_of(view.billed),
    }


def usage_object(billed: Billed) -> dict[str, Any]:
    """For an Island's owner: whose job it was is nobody's business but the customer's."""
    row = billed.usage
    return {"job_id": row.job_id, "epoch": row.epoch, "ended_at": time_text(row.at)} | _usage_of(
        billed
    )


def _usage_of(billed: Billed) -> dict[str, Any]:
    row = billed.usage
    paid = dict.fromkeys(PayKind, ZERO) | {pay.kind: pay.amount for pay in billed.pays}
    return {
        "cause": row.cause.value,
        "first_position": row.first_position,
        "next_position": row.next_position,
        "prompt_tokens": row.prompt_tokens,
        "reread_tokens": row.reread_tokens,
        "seconds": row.wall_ms / 1000,
        "paid_from_charge": to_credits(paid[PayKind.CHARGE]),
        "paid_from_insurance": to_credits(paid[PayKind.INSURED]),
        "owed": to_credits(paid[PayKind.OWED]),
    }


def karma_object(view: KarmaView) -> dict[str, Any]:
    """`notes` only for its owner and for operators."""
    karma = view.karma
    shown: dict[str, Any] = {
        "points": round(karma.points, 3),
        "tier": karma.tier.value,
        "payout_open": karma.payout_open,
        "good_hours": round(karma.good_ms / POINT_MS, 3),
        "faults": {kind.value: count for kind, count in sorted(karma.faults.items())},
    }
    if view.notes is not None:
        shown["notes"] = [
            {
                "kind": note.kind.value,
                "points": round(note.points_ms / POINT_MS, 6),
                "job_id": note.job_id,
                "epoch": note.epoch,
                "at": time_text(note.at),
            }
            for note in view.notes
        ]
    return shown


def cargo_object(cargo: Cargo) -> dict[str, Any]:
    """`price_per_job` is the fixed part; the metered parts stand under `price`."""
    manifest = cargo.manifest
    return {
        "id": cargo.id,
        "name": manifest.name,
        "slug": cargo.slug,
        "description": manifest.description,
        "version": manifest.version,
        "license": manifest.license,
        "kind": manifest.kind,
        "runtime_type": "wasm" if manifest.runtime == "wasm" else "container",
        "runtime": manifest.runtime,
        "model": manifest.model.name if manifest.model else None,
        "required_vram_mb": manifest.needs.vram_mb,
        "required_ram_mb": manifest.needs.memory_mb,
        "price_per_job": to_credits(manifest.price.job_ucredits),
        "price": price_object(manifest.price),
        "publisher": publisher_of(cargo),
        "trust": cargo.trust,
        "tier": manifest.limits.tier,
        "image": manifest.image.digest if manifest.image else None,
        "input_schema": manifest.input or None,
        "example": manifest.example or None,
        "output_items_max": manifest.limits.output_items_max,
        "seconds_max": manifest.limits.seconds,
        "digest": cargo.digest,
        "is_enabled": cargo.status is CargoStatus.LISTED,
        "created_at": time_text(cargo.created_at),
    }


def publisher_of(cargo: Cargo) -> dict[str, Any]:
    """`fingerprint` is what an Island's owner allows or does not."""
    key = cargo.cosigned.public_key if cargo.cosigned else None
    return {
        "id": cargo.owner_id,
        "fingerprint": fingerprint(key) if key else None,
        "public_key": public_pem(key).decode() if key else None,
    }


def submission_object(cargo: Cargo) -> dict[str, Any]:
    """For its publisher and for administrators: the workload, where it stands, and why."""
    review = cargo.review
    return cargo_object(cargo) | {
        "status": cargo.status.value,
        "reference": cargo.reference or None,
        "checks": [
            {"name": one.name, "passed": one.passed, "said": one.said or None}
            for one in cargo.checks
        ],
        "reason": (review.reason or None) if review else None,
        "reviewed_at": time_text(review.at) if review else None,
    }


def model_object(cargo: Cargo) -> dict[str, Any]:
    return {
        "id": cargo.model_name,
        "object": "model",
        "created": int(cargo.created_at.timestamp()),
        "owned_by": "archipelag",
        "kind": cargo.manifest.kind,
    }


def island_object(island: Island, *, whole: bool) -> dict[str, Any]:
    """`whole` for its owner and for operators; others see what matters to their work."""
    shown: dict[str, Any] = {
        "id": island.id,
        "name": island.name,
        "status": island.status.value,
        "approved": island.approved,
        "region": island.region or None,
        "slots": island.slots,
        "load": island.load,
        "seen_at": time_text(island.seen_at),
        "cargos": [
            {
                "slug": offer.slug,
                "digest": offer.digest,
                "state": offer.state,
                "reason": offer.reason or None,
                "slots": offer.slots,
                "items_per_s": offer.items_per_s,
                "first_item_ms": offer.first_item_ms,
                "startable": offer.startable,
                "start_ms": offer.start_ms,
                "runtime": offer.runtime or None,
                "determinism_class": offer.determinism_class or None,
            }
            for offer in island.offers
        ],
    }
    if whole:
        shown |= {
            "owner_id": island.owner_id,
            "created_at": time_text(island.created_at),
            "capabilities": dict(island.capabilities),
            "broker_rtt_ms": island.broker_rtt_ms,
            "wishes": wishes_object(island.wishes),
        }
    return shown


def wishes_object(wishes: Wishes) -> dict[str, Any]:
    """`schedule` is null where there is none: always."""
    return {
        "version": wishes.version,
        "draining": wishes.draining,
        "schedule": None if wishes.hours == EVERY_HOUR else by_day(wishes.hours),
        "least_prices": {slug: price_object(price) for slug, price in sorted(wishes.least.items())},
    }


def price_object(price: Price) -> dict[str, str]:
    return {
        "per_job": to_credits(price.job_ucredits),
        "per_prompt_token": to_credits(price.prompt_token_ucredits),
        "per_output_item": to_credits(price.output_item_ucredits),
    }


def key_object(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": sorted(scope.value for scope in key.scopes),
        "created_at": time_text(key.created_at),
        "last_used_at": time_text(key.last_used_at),
        "expires_at": time_text(key.expires_at),
        "revoked_at": time_text(key.revoked_at),
        "budget": None if key.budget is None else to_credits(key.budget),
        "used": to_credits(key.used),
        "rate_per_minute": key.rate_per_minute,
    }


def session_object(session: ApiKey, *, current: bool) -> dict[str, Any]:
    return {
        "id": session.id,
        "user_agent": session.user_agent or None,
        "created_at": time_text(session.created_at),
        "last_used_at": time_text(session.last_used_at),
        "expires_at": time_text(session.expires_at),
        "revoked_at": time_text(session.revoked_at),
        "current": current,
    }


def user_object(user: User) -> dict[str, Any]:
    """For administrators."""
    return {
        "id": user.id,
        "email": user.email,
        "role": user.role.value,
        "suspended": user.suspended,
        "created_at": time_text(user.created_at),
    }


def entry_object(entry: Entry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "at": time_text(entry.at),
        "actor": entry.actor,
        "act": entry.act,
        "subject": entry.subject,
        "detail": entry.detail,
        "previous": entry.previous.hex(),
        "hash": entry.hash.hex(),
    }


def account_object(user: User, account: Account) -> dict[str, Any]:
    """`credits` is the balance; `held` of it is reserved for running jobs."""
    return {
        "id": user.id,
        "email": user.email,
        "role": user.role.value,
        "credits": to_credits(account.balance),
        "held": to_credits(account.held),
        "available": to_credits(account.available),
        "created_at": time_text(user.created_at),
    }
