"""Links to files that need no key: signed, and good for a while."""

from __future__ import annotations

import hmac
from datetime import datetime
from hashlib import sha256
from typing import Final

from archipelag_contracts.ids import FileId

from archipelag_coordinator.errors import NotFound

SIGNATURE_LENGTH: Final = 64


class Links:
    """Made and checked with a secret that all Coordinators of a network share."""

    def __init__(self, secret: bytes) -> None:
        assert len(secret) >= 16
        self._secret = secret

    def path(self, file: FileId, expires_at: datetime) -> str:
        """Below the API's base."""
        until = int(expires_at.timestamp())
        return f"/links/{file}/{until}/{self._signature(file, until)}"

    def check(self, file: FileId, until: int, signature: str, now: datetime) -> None:
        """Raises NotFound for one that we did not make, or that is over."""
        ours = self._signature(file, until).encode()
        if not hmac.compare_digest(ours, signature.encode()) or now.timestamp() >= until:
            raise NotFound("link", "that is good still")

    def _signature(self, file: FileId, until: int) -> str:
        return hmac.new(self._secret, f"{file} {until}".encode(), sha256).hexdigest()
