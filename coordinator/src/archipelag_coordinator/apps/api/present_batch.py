"""How batches look outside, and the job that an member is not yet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from archipelag_contracts.units import ZERO, to_credits

from archipelag_coordinator.apps.api.present import time_text
from archipelag_coordinator.apps.job_words import job_status_text
from archipelag_coordinator.domain.batch import Batch, Member, MemberStatus
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.services.batch import BatchView

_MEMBER_STATUS: Final = {
    MemberStatus.WAITING: "pending",
    # For as long as its job is being stored.
    MemberStatus.SUBMITTED: "pending",
    MemberStatus.FAILED: "failed",
    MemberStatus.CANCELLED: "cancelled",
}
_COUNTED: Final = {"pending": "queued", "timeout": "failed"}
"""A batch counts in fewer words than there are."""


def batch_object(view: BatchView) -> dict[str, Any]:
    batch = view.batch
    return {
        "id": batch.id,
        "status": "stopping" if batch.stopping else batch.status.value,
        "workload_slug": batch.workload,
        "total": batch.total,
        "counts": _counts(view.members),
        "jobs": [member.job_id for member in view.members],
        "merge_strategy": batch.merge.value,
        "fail_mode": batch.fail_mode.value,
        "max_parallelism": batch.max_parallelism,
        "priority": batch.priority,
        "error": batch.error or None,
        "created_at": time_text(batch.created_at),
        "completed_at": time_text(batch.ended_at),
    }


def batches_object(
    views: Sequence[BatchView], total: int, limit: int, offset: int
) -> dict[str, Any]:
    return {
        "data": [batch_object(view) for view in views],
        "meta": {"total": total, "limit": limit, "offset": offset},
    }


def batch_status_object(view: BatchView) -> dict[str, Any]:
    return batch_object(view) | {
        "items": [
            {
                "job_id": member.job_id,
                "status": member_status(member),
                "error": member.said or None,
                "usage": _usage([member]),
            }
            for member in view.members
        ],
        "usage": _usage(view.members),
        "output": view.output,
        "output_omitted": view.output_omitted,
    }


def member_status(member: Member) -> str:
    if member.job is not None:
        return job_status_text(member.job.status, member.job.cause)
    return _MEMBER_STATUS[member.status]


def pending_job_object(batch: Batch, member: Member) -> dict[str, Any]:
    """A job whose turn in its batch has not come, or never will, in the shape of those that stand."""
    assert member.input is not None
    ended = time_text(batch.ended_at) if not member.waiting else None
    return {
        "id": member.job_id,
        "workload_id": batch.cargo_id,
        "workload_slug": batch.workload,
        "status": member_status(member),
        "input": json.loads(member.input),
        "output": None,
        "error": member.said or None,
        "cause": None,
        "finish_reason": None,
        "priority": batch.priority,
        "created_at": time_text(batch.created_at),
        "started_at": None,
        "completed_at": ended,
        "deadline_at": None,
        "duration_ms": None,
        "reserved": to_credits(ZERO),
        "waiting_for": ["its turn in its batch"] if member.waiting else [],
        "usage": _usage([member]),
        "attempts": [],
    }


def _counts(members: Sequence[Member]) -> dict[str, int]:
    counts = dict.fromkeys(("queued", "running", "completed", "failed", "cancelled"), 0)
    for member in members:
        status = member_status(member)
        counts[_COUNTED.get(status, status)] += 1
    return counts


def _usage(members: Sequence[Member]) -> dict[str, Any]:
    jobs = [
        member.job for member in members if member.job and member.job.status is not JobStatus.FAILED
    ]
    prompt = sum(job.prompt_tokens for job in jobs)
    completion = sum(job.output_items for job in jobs)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "credits_used": to_credits(sum(job.charged for job in jobs)),
    }
