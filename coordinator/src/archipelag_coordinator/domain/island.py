"""An Island: a host that lends its machine, as the Coordinator knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

from archipelag_contracts.ids import IslandId, UserId

from archipelag_coordinator.domain.wishes import NO_WISHES, Wishes
from archipelag_coordinator.errors import IllegalMove, IslandRefused


class IslandStatus(StrEnum):
    ENROLLED = "enrolled"  # known; has not yet been heard from, or waits for approval
    READY = "ready"
    DRAINING = "draining"  # finishes what runs, takes no more
    SILENT = "silent"  # no new work, leases kept
    LOST = "lost"  # its leases are broken
    SUSPENDED = "suspended"  # by an operator; cut off until restored
    RETIRED = "retired"  # by its owner, for good
    BANNED = "banned"  # by an operator, for good


_LIVE: Final = {
    IslandStatus.READY,
    IslandStatus.DRAINING,
    IslandStatus.SILENT,
    IslandStatus.LOST,
}
_ENDS: Final = {IslandStatus.SUSPENDED, IslandStatus.RETIRED, IslandStatus.BANNED}

MOVES: Final = {
    IslandStatus.ENROLLED: {IslandStatus.READY, IslandStatus.DRAINING} | _ENDS,
    IslandStatus.READY: {IslandStatus.DRAINING, IslandStatus.SILENT, IslandStatus.LOST} | _ENDS,
    IslandStatus.DRAINING: {IslandStatus.READY, IslandStatus.SILENT, IslandStatus.LOST} | _ENDS,
    IslandStatus.SILENT: {IslandStatus.READY, IslandStatus.DRAINING, IslandStatus.LOST} | _ENDS,
    IslandStatus.LOST: {IslandStatus.READY, IslandStatus.DRAINING} | _ENDS,
    IslandStatus.SUSPENDED: {IslandStatus.ENROLLED, IslandStatus.RETIRED, IslandStatus.BANNED},
    IslandStatus.RETIRED: set[IslandStatus](),
    IslandStatus.BANNED: set[IslandStatus](),
}


@dataclass(frozen=True)
class Offer:
    """A Cargo as one Island holds it, with that Island's own measurements."""

    slug: str
    digest: str
    state: str  # "available", "loading", "warm", "failed"
    reason: str = ""
    slots: int = 1
    items_per_s: float = 0.0
    first_item_ms: float = 0.0
    prompt_tokens_per_s: float = 0.0
    startable: bool = False
    """All of it is on that Island: an assignment starts it."""
    start_ms: float = 0.0
    """From nothing to ready, as measured there; 0: not yet."""
    runtime: str = ""
    """Which of the Island's runtimes runs it."""
    determinism_class: str = ""
    """Islands of equal class give equal output for equal seeds; empty where the Island does not say."""
    prefixes: tuple[int, ...] = ()
    """Names of what it could begin from without reading it again."""

    @property
    def can_run(self) -> bool:
        """A job of it could begin: it is warm, or an assignment starts it."""
        return self.state == "warm" or (self.startable and self.state != "failed")


BOOT_SILENT: Final = timedelta(minutes=1)
"""An Island that has started again with a lower number is believed after it was not heard for so long."""


@dataclass(frozen=True)
class Beat:
    """One heartbeat, decoded and verified."""

    sequence: int
    boot_id: str
    offers: tuple[Offer, ...]
    slots: int
    draining: bool
    broker_rtt_ms: float
    load: float
    capabilities: Mapping[str, Any] | None = None  # None: as before


@dataclass(frozen=True)
class Island:
    id: IslandId
    owner_id: UserId
    name: str
    public_key: bytes
    status: IslandStatus
    approved: bool
    created_at: datetime
    region: str = ""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    boot_id: str = ""
    sequence: int = -1
    seen_at: datetime | None = None
    offers: tuple[Offer, ...] = ()
    slots: int = 0
    broker_rtt_ms: float = 0.0
    load: float = 0.0
    wishes: Wishes = NO_WISHES

    @property
    def standing(self) -> IslandStatus:
        """Its status as placement takes it: an order to drain holds before the Island has heard of it."""
        if self.status is IslandStatus.READY and self.wishes.draining:
            return IslandStatus.DRAINING
        return self.status

    @property
    def accepts_work(self) -> bool:
        return self.approved and self.standing is IslandStatus.READY

    @property
    def takes_orders(self) -> bool:
        """Whether its agent does what is asked for here; older ones do not, nor where their owner said so."""
        return self.capabilities.get("takes_orders") is True

    @property
    def may_connect(self) -> bool:
        return may_connect(self.status)

    def check_may_connect(self) -> None:
        """Raises IslandRefused when an operator or the owner ended this Island's right to be here."""
        if self.status in _ENDS:
            raise IslandRefused(f"this Island is {self.status.value}")

    def beat(self, beat: Beat, now: datetime) -> Island:
        """Sign of life. One that is replayed or overtaken changes nothing, be it from an earlier boot: numbers follow
        the machine's clock and rise over its starts, too. A clock that was set back counts once it has been silent."""
        self.check_may_connect()
        if beat.boot_id == self.boot_id:
            if beat.sequence <= self.sequence:
                return self
        elif self.seen_at and now - self.seen_at < BOOT_SILENT and beat.sequence < self.sequence:
            return self
        target = IslandStatus.DRAINING if beat.draining else IslandStatus.READY
        moved = self if self.status is target else self._move(target)
        return replace(
            moved,
            boot_id=beat.boot_id,
            sequence=beat.sequence,
            seen_at=now,
            offers=beat.offers,
            slots=beat.slots,
            broker_rtt_ms=beat.broker_rtt_ms,
            load=beat.load,
            capabilities=self.capabilities if beat.capabilities is None else beat.capabilities,
            region=self.region
            if beat.capabilities is None
            else str(beat.capabilities.get("region", "")),
        )

    def approve(self) -> Island:
        return replace(self, approved=True)

    def fall_silent(self) -> Island:
        return self._move(IslandStatus.SILENT)

    def lose(self) -> Island:
        return self._move(IslandStatus.LOST)

    def suspend(self) -> Island:
        return self._move(IslandStatus.SUSPENDED)

    def restore(self) -> Island:
        return self._move(IslandStatus.ENROLLED)

    def retire(self) -> Island:
        return self._move(IslandStatus.RETIRED)

    def ban(self) -> Island:
        return self._move(IslandStatus.BANNED)

    def _move(self, to: IslandStatus) -> Island:
        if to not in MOVES[self.status]:
            raise IllegalMove("island", self.status, to)
        return replace(self, status=to)


def may_connect(status: str) -> bool:
    return status not in _ENDS


class Glance(NamedTuple):
    """The least that tells whether something is new about an Island."""

    id: IslandId
    status: str
    approved: bool
    seen_at: float
    """Seconds since 1970; 0 where it has never been heard."""
    wishes_version: int = 0


@dataclass(frozen=True)
class PairingCode:
    """Lets one Island join for its owner: six characters without I, O, 1 and 0, ten minutes, once."""

    code: str
    owner_id: UserId
    expires_at: datetime
    used_by: IslandId | None = None
