"""Islands' messages as the domain's values: every length, number and word within bounds."""

from __future__ import annotations

import math
from typing import Any, Final

from archipelag_contracts.errors import BadMessage
from archipelag_contracts.ids import Epoch, IslandId, cargo_digest, job_id
from archipelag_contracts.pb.archipelag.v1 import common_pb2, island_pb2, job_pb2

from archipelag_coordinator.domain.attempt import Cause, Usage
from archipelag_coordinator.domain.island import Beat, Offer
from archipelag_coordinator.services.heartbeat import HeldNow
from archipelag_coordinator.services.track import ReportIn

OFFERS_MAX: Final = 64
HELD_MAX: Final = 4096
SLOTS_MAX: Final = 4096
WORD_MAX: Final = 64
CLASS_MAX: Final = 128
TEXT_MAX: Final = 200
ERROR_MAX: Final = 500
LIST_MAX: Final = 64
GPUS_MAX: Final = 32
PREFIXES_MAX: Final = 64
ITEMS_MAX: Final = 1_000_000
ITEMS_PER_S_MAX: Final = 1e6
MILLISECONDS_MAX: Final = 3.6e6
EPOCH_MAX: Final = 2**31 - 1
INTEGER_MAX: Final = 2**63 - 1
DIGEST_BYTES: Final = 32

# What only a Coordinator may say of an attempt: an Island that claims it is lying or confused.
_NOT_AN_ISLANDS: Final = {
    Cause.LEASE_LOST,
    Cause.REFUSED,
    Cause.BAD_OUTPUT,
    Cause.NO_CAPACITY,
    Cause.COORDINATOR_LOST,
    Cause.CARGO_WITHDRAWN,
    Cause.CARGO_REVOKED,
}


def beat_of(message: island_pb2.Heartbeat) -> Beat:
    """Raises BadMessage."""
    if len(message.cargos) > OFFERS_MAX:
        raise BadMessage(f"more than {OFFERS_MAX} Cargos offered")
    told = message.HasField("capabilities")
    return Beat(
        sequence=min(message.sequence, INTEGER_MAX),
        boot_id=_plain(message.boot_id, WORD_MAX),
        offers=tuple(_offer(cargo) for cargo in message.cargos),
        slots=min(message.slots, SLOTS_MAX),
        draining=message.draining,
        broker_rtt_ms=message.broker_rtt_us / 1000,
        load=_bounded(message.load, 1.0),
        capabilities=capabilities_of(message.capabilities) if told else None,
    )


def held_of(message: island_pb2.Heartbeat) -> list[HeldNow]:
    """Raises BadMessage, or BadId, which is one."""
    if len(message.held) > HELD_MAX:
        raise BadMessage(f"more than {HELD_MAX} attempts held")
    reported = island_pb2.HeldAttempt.STATE_REPORTED
    return [
        HeldNow(
            key=(job_id(one.job_id), _epoch(one.epoch)),
            reported=one.state == reported,
            next_position=min(one.next_position, ITEMS_MAX),
        )
        for one in message.held
    ]


def report_of(message: job_pb2.Report, island: IslandId, raw: bytes) -> ReportIn:
    """Raises BadMessage, or BadId, which is one."""
    if message.island_id != island:
        raise BadMessage("a report about another Island's attempt")
    cause = _cause(message.cause)
    if max(message.first_position, message.next_position) > ITEMS_MAX:
        raise BadMessage("a report of impossible positions")
    if len(message.texts) > ITEMS_MAX or len(message.tokens) > ITEMS_MAX:
        raise BadMessage("a report of too many items")
    if len(message.input_sha256) != DIGEST_BYTES or len(message.output_chain) != DIGEST_BYTES:
        raise BadMessage("a report whose digests are not SHA-256")
    return ReportIn(
        island_id=island,
        job_id=job_id(message.job_id),
        epoch=_epoch(message.epoch),
        cargo_digest=cargo_digest(message.cargo_digest),
        cause=cause,
        finish_reason=_plain(message.finish_reason, WORD_MAX),
        error=_plain(message.error, ERROR_MAX),
        first_position=message.first_position,
        next_position=message.next_position,
        usage=usage_of(message.usage),
        input_sha256=message.input_sha256,
        output_chain=message.output_chain,
        texts=tuple(message.texts),
        tokens=tuple(message.tokens),
        raw=raw,
    )


def usage_of(message: common_pb2.Usage) -> Usage:
    return Usage(
        prompt_tokens=min(message.prompt_tokens, EPOCH_MAX),
        output_items=min(message.output_items, EPOCH_MAX),
        cpu_ms=min(message.cpu_ms, EPOCH_MAX),
        memory_peak_bytes=min(message.memory_peak_bytes, INTEGER_MAX),
        wall_ms=min(message.wall_ms, EPOCH_MAX),
    )


def capabilities_of(message: common_pb2.Capabilities) -> dict[str, Any]:
    """As JSON can hold it. What is too long is cut, since it is only shown and filtered by."""
    return {
        "agent_version": _plain(message.agent_version, WORD_MAX),
        "os": _plain(message.os, WORD_MAX),
        "arch": _plain(message.arch, WORD_MAX),
        "cores": min(message.cores, 65_536),
        "cpu_features": _words(message.cpu_features),
        "memory_bytes": min(message.memory_bytes, INTEGER_MAX),
        "disk_free_bytes": min(message.disk_free_bytes, INTEGER_MAX),
        "gpus": [
            {
                "name": _plain(gpu.name, TEXT_MAX),
                "memory_bytes": min(gpu.memory_bytes, INTEGER_MAX),
                "driver": _plain(gpu.driver, WORD_MAX),
            }
            for gpu in message.gpus[:GPUS_MAX]
        ],
        "runtimes": [
            {
                "name": _plain(runtime.name, WORD_MAX),
                "isolation": _words(runtime.isolation),
                "not_isolated": _words(runtime.not_isolated),
            }
            for runtime in message.runtimes[:LIST_MAX]
        ],
        "engines": _words(message.engines),
        "region": _plain(message.region, WORD_MAX),
        "takes_orders": message.takes_orders,
    }


def _offer(cargo: island_pb2.CargoState) -> Offer:
    states = island_pb2.CargoState.State
    try:
        state = states.Name(cargo.state).removeprefix("STATE_").lower()
    except ValueError:
        raise BadMessage(f"a Cargo in the unknown state {cargo.state}") from None
    return Offer(
        slug=_plain(cargo.slug, WORD_MAX),
        digest=cargo_digest(cargo.digest),
        state=state,
        reason=_plain(cargo.reason, TEXT_MAX),
        slots=min(cargo.slots, SLOTS_MAX),
        items_per_s=_bounded(cargo.items_per_s, ITEMS_PER_S_MAX),
        startable=cargo.startable,
        start_ms=_bounded(cargo.start_ms, MILLISECONDS_MAX),
        runtime=_plain(cargo.runtime, WORD_MAX),
        first_item_ms=_bounded(cargo.first_item_ms, MILLISECONDS_MAX),
        prompt_tokens_per_s=_bounded(cargo.prompt_tokens_per_s, ITEMS_PER_S_MAX),
        determinism_class=_plain(cargo.determinism_class, CLASS_MAX),
        prefixes=tuple(cargo.prefixes[:PREFIXES_MAX]),
    )


def _cause(number: int) -> Cause:
    try:
        name = common_pb2.Cause.Name(number)  # type: ignore[arg-type]
        cause = Cause(name.removeprefix("CAUSE_").lower())
    except ValueError:
        raise BadMessage(f"a report of an unknown cause {number}") from None
    if cause in _NOT_AN_ISLANDS:
        raise BadMessage(f"a report of {cause.value}, which no Island may say")
    return cause


def _epoch(number: int) -> Epoch:
    if not 1 <= number <= EPOCH_MAX:
        raise BadMessage(f"an impossible epoch {number}")
    return Epoch(number)


def _bounded(number: float, highest: float) -> float:
    """NaN and negative numbers become 0: they would poison a comparison."""
    return min(number, highest) if math.isfinite(number) and number > 0 else 0.0


def _words(words: Any) -> list[str]:
    return [_plain(word, TEXT_MAX) for word in words[:LIST_MAX]]


def _plain(text: str, characters_max: int) -> str:
    """One line of printable characters: PostgreSQL stores no NUL, and a log line must not be forged."""
    shown = "".join(c if c.isprintable() else " " for c in text[: 4 * characters_max])
    return " ".join(shown.split())[:characters_max]
