"""What a customer asks of a Cargo, as a door hands it over, and how it is checked before anything is reserved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archipelag_contracts.ids import JobId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.chat import INPUT_BYTES_MAX, ChatInput, parse_chat
from archipelag_coordinator.domain.input_schema import input_errors
from archipelag_coordinator.domain.pricing import charge
from archipelag_coordinator.domain.user import ApiKey, User
from archipelag_coordinator.errors import InvalidInput, TooLarge
from archipelag_coordinator.services.world import World

PRIORITY_MAX = 10


@dataclass(frozen=True)
class Submission:
    """A request as a door hands it over. `input` is the chat request's body, or a JSON Cargo's input."""

    user: User
    key: ApiKey
    workload: str
    """Slug or model name."""
    input: Mapping[str, Any]
    interactive: bool
    priority: int = 0
    idempotency_key: str | None = None
    retry: bool = False
    """The client says that it sent this before and saw no answer."""
    request_hash: bytes = b""
    goes_on_unread: bool = False
    """It runs to its end although its reader has left."""
    continues: bool = False
    """The reader has the beginning of the answer already: only a job that stands will do."""
    within_s: float | None = None
    """Its customer has no use for the answer later than so many seconds from now."""
    place: str | None = None
    """What it was given with the time to come back, when it was sent away before."""
    job_id: JobId | None = None
    """The id that a batch has promised for this member, which is claimed in the same step."""


def read_input(world: World, cargo: Cargo, submission: Submission) -> ChatInput:
    """The input as the Cargo gets it, with the bounds that price it.

    Raises InvalidInput, Unsupported, TooLarge.
    """
    if not 0 <= submission.priority <= PRIORITY_MAX:
        raise InvalidInput({"priority": [f"must be 0 to {PRIORITY_MAX}"]})
    limits = cargo.manifest.limits
    if cargo.manifest.kind == "chat":
        return parse_chat(
            submission.input,
            seed=world.ids.seed(),
            items_default=world.policy.output_items_default,
            items_max=limits.output_items_max,
        )
    if errors := input_errors(cargo.manifest, submission.input):
        raise InvalidInput(errors)
    try:
        encoded = json.dumps(
            dict(submission.input), ensure_ascii=False, separators=(",", ":"), allow_nan=False
        ).encode()
    except (ValueError, RecursionError):
        raise InvalidInput({"input": ["must be plain JSON: no NaN, no half characters"]}) from None
    if len(encoded) > INPUT_BYTES_MAX:
        raise TooLarge("the input", INPUT_BYTES_MAX)
    return ChatInput(
        encoded, prompt_tokens_max=len(encoded), output_items_max=limits.output_items_max
    )


def price_at_most(cargo: Cargo, wanted: ChatInput) -> Ucredits:
    """What is reserved: no ending costs more."""
    price = charge(cargo.manifest.price, wanted.prompt_tokens_max, wanted.output_items_max)
    return Ucredits(price)
