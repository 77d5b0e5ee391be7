"""A place in line that its caller can show at any Coordinator of the network: the time that they were told, sealed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import Final

from archipelag_coordinator.domain.kept_places import GRACE_S
from archipelag_coordinator.domain.lines import LineKey

SPENT_MAX: Final = 10_000
SAME_S: Final = 0.5
"""Times of one place differ by less, reckoned by two clocks; the next one of a request is later by more."""
_SHAPE: Final = re.compile(r"([1-9a-f][0-9a-f]{0,11})\.([A-Za-z0-9_-]{43})")
_PURPOSE: Final = b"archipelag place 1\n"


class PlaceTokens:
    """Guards which places were taken here.

    A token is good for one account, Cargo and request, until `GRACE_S` after its time; with a secret that all
    Coordinators of a network share, for each of them. None knows what was taken at another one: shown at all of n
    Coordinators, a place is taken n times at most.
    """

    def __init__(self, secret: bytes) -> None:
        assert len(secret) >= 16
        self._secret = secret
        self._spent: OrderedDict[tuple[LineKey, bytes], datetime] = OrderedDict()

    def __len__(self) -> int:
        """Places that were taken, as far as they are remembered."""
        return len(self._spent)

    def make(self, key: LineKey, request: bytes, time: datetime) -> str:
        """`time`: when to come back, kept to the millisecond."""
        time_ms = round(time.timestamp() * 1000)
        return f"{time_ms:x}.{self._tag(key, request, time_ms)}"

    def time_of(self, token: str, key: LineKey, request: bytes, now: datetime) -> datetime | None:
        """When this very request was told to come back; None for what is no token, not theirs, over, or taken here."""
        found = _SHAPE.fullmatch(token)
        if found is None:
            return None
        time_ms = int(found[1], 16)
        if not hmac.compare_digest(self._tag(key, request, time_ms), found[2]):
            return None
        time = datetime.fromtimestamp(time_ms / 1000, UTC)
        taken = self._spent.get((key, request))
        if taken is not None and time <= taken + timedelta(seconds=SAME_S):
            return None
        return None if now > time + timedelta(seconds=GRACE_S) else time

    def spend(self, key: LineKey, request: bytes, time: datetime) -> None:
        """The place of this time was taken, and with it all earlier ones of the request."""
        self._spent.pop((key, request), None)
        self._spent[key, request] = time
        if len(self._spent) > SPENT_MAX:
            self._spent.popitem(last=False)

    def sweep(self, now: datetime) -> None:
        """Forgets those that nobody could show any more."""
        while self._spent and now > next(iter(self._spent.values())) + timedelta(seconds=GRACE_S):
            self._spent.popitem(last=False)

    def _tag(self, key: LineKey, request: bytes, time_ms: int) -> str:
        # Hashed one by one, so that nothing can be moved from one part to the next.
        parts = (key.user_id.encode(), key.digest.encode(), request, b"%d" % time_ms)
        whole = _PURPOSE + b"".join(hashlib.sha256(part).digest() for part in parts)
        tag = hmac.new(self._secret, whole, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(tag).decode().rstrip("=")
