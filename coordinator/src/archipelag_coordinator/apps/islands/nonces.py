"""Nonces that prove a request is fresh: made here, valid for a minute, taken once."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from archipelag_coordinator.clock import Clock

LIFE_S: Final = 60.0
CHANCE_BYTES: Final = 16
_TIME_BYTES: Final = 8
_MAC_BYTES: Final = 32
LENGTH: Final = _TIME_BYTES + CHANCE_BYTES + _MAC_BYTES
TAKEN_MAX: Final = 100_000


class Nonces:
    """Guards which nonces were taken. Nothing is stored for one that is only asked for.

    `secret` is shared by the Coordinators of a network, so that any of them may take what another gave; each refuses
    what it has seen itself, and what a nonce signs is idempotent.
    """

    def __init__(self, secret: bytes, clock: Clock, chance: Callable[[int], bytes]) -> None:
        self._secret = secret
        self._clock = clock
        self._chance = chance
        self._taken: OrderedDict[bytes, float] = OrderedDict()

    def give(self) -> bytes:
        now_ms = int(self._clock.now().timestamp() * 1000)
        body = now_ms.to_bytes(_TIME_BYTES, "big") + self._chance(CHANCE_BYTES)
        return body + self._mac(body)

    def take(self, nonce: bytes) -> bool:
        """Whether it is ours, young and new."""
        if len(nonce) != LENGTH:
            return False
        body, mac = nonce[:-_MAC_BYTES], nonce[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)):
            return False
        now = self._clock.now().timestamp()
        age = now - int.from_bytes(body[:_TIME_BYTES], "big") / 1000
        if not -LIFE_S <= age <= LIFE_S:
            return False
        while self._taken and next(iter(self._taken.values())) < now - 2 * LIFE_S:
            self._taken.popitem(last=False)
        if body in self._taken or len(self._taken) >= TAKEN_MAX:
            return False
        self._taken[body] = now
        return True

    def _mac(self, body: bytes) -> bytes:
        return hmac.new(self._secret, b"archipelag.v1.nonce\n" + body, hashlib.sha256).digest()
