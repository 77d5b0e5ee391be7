"""One attempt that is listened to, and whether anything is missing before what it says."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from archipelag_contracts.ids import Epoch, IslandId, RelayId
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as pb
from google.protobuf.message import DecodeError

from archipelag_coordinator.adapters.nats.causes import cause_of
from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import Cause


@dataclass(slots=True)
class Line:
    """One open attempt, and what is measured of it."""

    subject: bytes
    answer: Answer
    island: IslandId
    relay: RelayId
    """The process that its Island sends to."""
    epoch: Epoch
    second: float
    """When the running second of the rate limit began."""
    chunks: int = 0
    items: int = 0
    in_doubt: bool = False
    """Something may have been missed since the last item."""
    says_again_until: float = 0.0
    """So long after we were deaf the Island may still say again what nobody heard."""
    repairs: int = 0
    held: deque[bytes] | None = None
    """What arrives while a gap is being filled."""
    held_bytes: int = 0


@dataclass
class Counts:
    """What was refused, for the metrics."""

    unknown: int = 0
    """No attempt is open under that subject: an old epoch, another job, a finished attempt."""
    wrong: int = 0
    """Attempts ended because their output broke the protocol."""
    repaired: int = 0
    """Gaps that were looked up in the stream."""


def follows_on(answer: Answer, payload: bytes) -> bool | None:
    """Whether nothing is missing before it; None where it does not say."""
    try:
        chunk = pb.Chunk.FromString(payload)
    except DecodeError:
        return None
    if chunk.texts:
        return bool(chunk.first <= answer.next)
    if chunk.HasField("end") and cause_of(chunk.end.cause) is Cause.COMPLETED:
        return bool(chunk.end.next <= answer.next)
    return None
