"""Waits for the whole result of a Cargo whose answer is one JSON object: what the doors beside chat have in common."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from archipelag_contracts.units import to_credits
from fastapi import Request

from archipelag_coordinator.apps.api.asking import Asked, ask
from archipelag_coordinator.apps.api.errors import BadResult, JobEnded
from archipelag_coordinator.apps.api.relay_response import Departure
from archipelag_coordinator.domain.answer import Ending
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.errors import InvalidInput, NotFound, Unsupported
from archipelag_coordinator.services.asked import Submission
from archipelag_coordinator.services.world import World

MODEL_KINDS: Final = ("chat", "embeddings", "image", "transcription", "speech")
"""Cargos that an OpenAI client may call by a model's name."""


@dataclass(frozen=True)
class Result:
    """A job that completed, and the object that it answered."""

    asked: Asked
    ending: Ending
    value: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Archipelag-Job": self.asked.job.id}

    @property
    def credits_used(self) -> str:
        return to_credits(self.ending.charged)


def model_of(world: World, name: Any, kind: str) -> Cargo:
    """Raises InvalidInput, and NotFound for a model that does other things."""
    if not isinstance(name, str) or not name:
        raise InvalidInput({"model": ["is required: the name of a model, see /v1/models"]})
    cargo = world.catalogue.find(name)
    if cargo.manifest.kind != kind:
        raise NotFound("model", name)
    return cargo


async def result_of(request: Request, world: World, submission: Submission) -> Result | None:
    """None: the client has left, and the job is cancelled after the usual grace. Raises JobEnded, BadResult."""
    asked = await ask(world, submission)
    try:
        async with Departure(request.receive):
            # Nothing is taken before the end, so that another Island may begin anew for as long as possible.
            ending = await asked.reader.wait_final()
            value = object_of(ending, "".join(asked.reader.take()))
            asked.reader.delivered()
            return Result(asked, ending, value)
        return None
    finally:
        asked.reader.close()


def object_of(ending: Ending, text: str) -> dict[str, Any]:
    """Raises JobEnded for a job that did not complete, BadResult for an answer that is none."""
    if ending.cause is not Cause.COMPLETED:
        raise JobEnded(ending)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise BadResult("the Cargo did not answer in JSON") from None
    if not isinstance(value, dict):
        raise BadResult("the Cargo did not answer with an object")
    return value


def number(value: Any, what: str) -> float:
    """Raises BadResult."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadResult(f"{what} is not a number")
    return value


def count_of(value: Any) -> int:
    """A count by the Cargo's word, which is for show only."""
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


def check_fields(body: Mapping[str, Any], known: frozenset[str], cannot: frozenset[str]) -> None:
    """Says clearly what is not possible, rather than leave it out in silence. Raises InvalidInput, Unsupported."""
    for name in sorted(cannot & body.keys()):
        if body[name] not in (None, False, "", "auto", 1):
            raise Unsupported(name, f"{name}: this model cannot do that; leave the field out")
    unknown = sorted(body.keys() - known - cannot)
    if unknown:
        raise InvalidInput({name[:64]: ["is not a known field"] for name in unknown})


def text_of(body: Mapping[str, Any], name: str, chars_max: int) -> str:
    """Raises InvalidInput."""
    value = body.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= chars_max:
        raise InvalidInput({name: [f"is required: text of 1 to {chars_max} characters"]})
    return value
