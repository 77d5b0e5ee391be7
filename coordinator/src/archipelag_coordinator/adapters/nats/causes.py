"""The wire's words for endings and usage, as the domain's."""

from __future__ import annotations

from typing import Any, Final

from archipelag_contracts.pb.archipelag.v1.common_pb2 import Cause as WireCause

from archipelag_coordinator.domain.attempt import Cause, Usage

INTEGER_MAX: Final = 2**63 - 1
# What only a Coordinator may say of an attempt: an Island that claims it is lying or confused.
_NOT_AN_ISLANDS: Final = {
    Cause.LEASE_LOST,
    Cause.REFUSED,
    Cause.BAD_OUTPUT,
    Cause.NO_CAPACITY,
    Cause.COORDINATOR_LOST,
}


def cause_of(number: int) -> Cause | None:
    """None for anything that an Island may not say."""
    try:
        name = WireCause.Name(number)  # type: ignore[arg-type]
        cause = Cause(name.removeprefix("CAUSE_").lower())
    except ValueError:
        return None
    return None if cause in _NOT_AN_ISLANDS else cause


def usage_of(usage: Any) -> Usage:
    """As the Island metered it, within what the database can hold."""
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        output_items=usage.output_items,
        cpu_ms=usage.cpu_ms,
        memory_peak_bytes=min(usage.memory_peak_bytes, INTEGER_MAX),
        wall_ms=usage.wall_ms,
    )
