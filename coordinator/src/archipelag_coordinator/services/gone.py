"""Finds what an Island was streaming when the broker says that its connection is gone, sooner than silence would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from archipelag_contracts.ids import Epoch, IslandId, JobId

from archipelag_coordinator.services.world import World

ROUND_TRIPS: Final = 4
"""To connect again: for the connection itself, encryption, and the broker's nonce."""
SIGN_OF_LIFE_S: Final = 0.5
"""An Island that streams is never silent for longer: see its keep-alives."""


@dataclass(frozen=True)
class Left:
    """What an Island that is gone leaves behind: attempts to give up now, and when to look again for others."""

    attempts: tuple[tuple[JobId, Epoch], ...] = ()
    again_s: float | None = None


def left_behind(world: World, island_id: IslandId, gone_at: float) -> Left:
    """Running attempts of this Island that a reader waits for and that were not heard from within the grace.

    Its last words travel on another line than the broker's word of its going, and may be heard after that. An Island
    that is heard a second time is there, whatever the broker said.
    """
    now = world.clock.monotonic()
    grace_s = _grace_s(world, island_id)
    given_up: list[tuple[JobId, Epoch]] = []
    waits: list[float] = []
    for answer in world.answers.all():
        if answer.island_id != island_id or not answer.running or not answer.interactive:
            continue
        if answer.follows:
            continue  # Its home decides.
        # After its last chunk it owes us a report only, which it may bring whenever it is back.
        if answer.final is not None or answer.attempt_end is not None:
            continue
        due = gone_at + grace_s
        if answer.heard_at > gone_at:
            due = answer.heard_at + SIGN_OF_LIFE_S + grace_s
        if answer.heard_at >= gone_at + SIGN_OF_LIFE_S:
            continue
        if now < due:
            waits.append(due - now)
        else:
            given_up.append((answer.job_id, answer.epoch))
    return Left(tuple(given_up), min(waits, default=None))


def _grace_s(world: World, island_id: IslandId) -> float:
    island = world.fleet.get(island_id)
    round_trip_s = island.broker_rtt_ms / 1000 if island else 0.0
    longest = world.policy.stream_silence_s
    return min(longest, world.policy.gone_grace_s + ROUND_TRIPS * round_trip_s)
