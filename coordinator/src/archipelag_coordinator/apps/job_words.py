"""A job's state in the words of the API and of the pages."""

from __future__ import annotations

from typing import Final

from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import JobStatus

STATUSES: Final = {
    "queued": JobStatus.QUEUED,
    "running": JobStatus.RUNNING,
    "completed": JobStatus.SUCCEEDED,
    "failed": JobStatus.FAILED,
    "cancelled": JobStatus.CANCELLED,
}
"""What jobs are asked for by."""
_WORDS: Final = {status: word for word, status in STATUSES.items()}


def job_status_text(status: JobStatus, cause: Cause | None) -> str:
    """What they are told by: one more word, `timeout` for a deadline missed."""
    if status is JobStatus.FAILED and cause is Cause.DEADLINE:
        return "timeout"
    return _WORDS[status]
