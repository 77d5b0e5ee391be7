"""The stream of a picture in OpenAI's events: previews while it is drawn, then the picture."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from archipelag_contracts.units import to_credits

from archipelag_coordinator.apps.api.errors import BadResult, problem_of, problem_of_ending
from archipelag_coordinator.apps.api.pictures import picture_of, size_text
from archipelag_coordinator.apps.api.sse import compact, failure
from archipelag_coordinator.domain.answer import Ending, Progress
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.media import media_type_of
from archipelag_coordinator.services.watch import Reader

PARTIAL: Final = "image_generation.partial_image"
COMPLETED: Final = "image_generation.completed"


class ImageFrames:
    """Keeps the pieces of the answer until it is whole: half of a picture's data is nothing to look at."""

    def __init__(self, job: Job, reader: Reader, partial_max: int) -> None:
        self._job = job
        self._reader = reader
        self._partial_max = partial_max
        self._partials = 0
        self._seen: Progress | None = None
        self._text = ""

    def opening(self) -> bytes:
        """What was waited for before the first byte was sent is news, too."""
        return self.news(self._reader)

    def items(self, text: str, position: int) -> bytes:  # noqa: ARG002 - part of the protocol
        self._text += text
        return b""

    def news(self, reader: Reader) -> bytes:
        """A preview, where there is a new one and the client asked for so many."""
        note = reader.note
        if note is None or note == self._seen or self._partials >= self._partial_max:
            return b""
        if not media_type_of(note.preview).startswith("image/"):
            return b""
        self._seen = note
        event = self._common(PARTIAL) | {
            "b64_json": base64.b64encode(note.preview).decode(),
            "partial_image_index": self._partials,
        }
        self._partials += 1
        return _framed(PARTIAL, event)

    def ending(self, reader: Reader, ending: Ending) -> bytes:
        if ending.cause is not Cause.COMPLETED:
            return b"event: error\n" + failure(problem_of_ending(ending), reader.position)
        try:
            value = json.loads(self._text)
            picture = picture_of(value if isinstance(value, dict) else {})
        except (ValueError, RecursionError, BadResult):
            problem = problem_of(BadResult("what the Cargo answered is no picture"))
            return b"event: error\n" + failure(problem, reader.position)
        event = self._common(COMPLETED) | {
            "b64_json": picture.encoded,
            "size": size_text(value),
            "usage": usage_of(ending),
        }
        return _framed(COMPLETED, event)

    def _common(self, kind: str) -> dict[str, Any]:
        return {
            "type": kind,
            "created_at": int(self._job.created_at.timestamp()),
            "background": "auto",
            "output_format": "png",
            "quality": "auto",
            "size": "auto",
        }


def usage_of(ending: Ending) -> dict[str, Any]:
    """OpenAI's counts, and our price."""
    usage = ending.usage
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": usage.prompt_tokens},
        "output_tokens": usage.output_items,
        "total_tokens": usage.prompt_tokens + usage.output_items,
        "credits_used": to_credits(ending.charged),
    }


def _framed(kind: str, event: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {compact(event)}\n\n".encode()
