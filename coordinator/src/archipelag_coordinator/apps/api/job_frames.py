"""A job's stream of events: token, status, progress, error, done."""

from __future__ import annotations

import base64
from json.encoder import encode_basestring_ascii as escape
from typing import Any

from archipelag_contracts.units import to_credits

from archipelag_coordinator.apps.api.errors import problem_of_ending
from archipelag_coordinator.apps.api.present import wait_object
from archipelag_coordinator.apps.api.sse import event, finish_reason_of, usage_of
from archipelag_coordinator.apps.job_words import job_status_text
from archipelag_coordinator.domain.answer import Ending, Progress
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.waits import Wait
from archipelag_coordinator.services.watch import Reader


class JobFrames:
    """Remembers what one reader was told, so that nothing is said twice."""

    def __init__(self, job: Job, after: int, wait: Wait | None = None) -> None:
        """`wait`: of a job that is queued, as it was a moment ago."""
        self._status = job_status_text(job.status, job.cause)
        self._waiting = job.waiting_for
        self._note: Progress | None = None
        self._after = after
        self._wait = wait

    def opening(self) -> bytes:
        return self._say_status(self._after, self._wait)

    def items(self, text: str, position: int) -> bytes:
        said = b""
        if self._status == "queued":
            self._status, self._waiting = "running", ()
            said = self._say_status(position)
        return b'%bid: %d\ndata: {"type":"token","content":%b}\n\n' % (
            said,
            position,
            escape(text).encode(),
        )

    def news(self, reader: Reader) -> bytes:
        said = b""
        if reader.final is None and reader.waiting != self._waiting:
            self._waiting = reader.waiting
            self._status = "queued" if self._waiting else "running"
            said += self._say_status(reader.position, self._place(reader))
        elif reader.final is None and self._stands_elsewhere(reader):
            said += self._say_status(reader.position, self._place(reader))
        if reader.note is not None and reader.note != self._note:
            self._note = reader.note
            said += event(_progress(reader.note), reader.position)
        return said

    def ending(self, reader: Reader, ending: Ending) -> bytes:
        usage = usage_of(ending, to_credits(ending.charged))
        if ending.cause is Cause.COMPLETED:
            shown = {"type": "done", "usage": usage, "finish_reason": finish_reason_of(ending)}
            return event(shown, reader.position)
        problem = problem_of_ending(ending)
        told = {"type": "error", "error": problem.message, "code": problem.code, "usage": usage}
        return event(told, reader.position)

    def _stands_elsewhere(self, reader: Reader) -> bool:
        stands = reader.stands
        return bool(self._waiting) and stands is not None and stands.is_news_after(self._wait)

    def _place(self, reader: Reader) -> Wait | None:
        """Where a job that waits stands, as it is told now."""
        if not self._waiting or reader.stands is None:
            return None
        self._wait = reader.stands
        return self._wait

    def _say_status(self, position: int, wait: Wait | None = None) -> bytes:
        shown: dict[str, Any] = {"type": "status", "content": self._status}
        if wait is not None:
            shown |= wait_object(wait)
        if self._waiting:
            shown["reasons"] = list(self._waiting)
        return event(shown, position)


def _progress(note: Progress) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": "progress", "step": note.step, "total": note.total}
    if note.note:
        shown["content"] = note.note
    if note.preview:
        shown["image_data"] = base64.b64encode(note.preview).decode()
        shown["format"] = note.preview_type.removeprefix("image/")
    return shown
