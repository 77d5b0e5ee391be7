"""Chance from the operating system: ids, secrets, seeds."""

from __future__ import annotations

import os
import random
import secrets
import string
from datetime import datetime
from typing import Final

from archipelag_contracts import ids
from archipelag_contracts.ids import (
    ApiKeyId,
    BatchId,
    FileId,
    IslandId,
    JobId,
    RelayId,
    UserId,
)

from archipelag_coordinator.domain.conversation import ConversationId
from archipelag_coordinator.domain.file import BlobId

PAIRING_ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
PAIRING_LENGTH: Final = 6
_SECRET_ALPHABET: Final = string.ascii_letters + string.digits
_SECRET_LENGTH: Final = 43


class SystemIds:
    """Ids sort by age; secrets have 256 bits."""

    def job(self, now: datetime) -> JobId:
        return JobId(f"job_{_body(now)}")

    def batch(self, now: datetime) -> BatchId:
        return BatchId(f"bat_{_body(now)}")

    def island(self, now: datetime) -> IslandId:
        return IslandId(f"isl_{_body(now)}")

    def user(self, now: datetime) -> UserId:
        return UserId(f"usr_{_body(now)}")

    def api_key(self, now: datetime) -> ApiKeyId:
        return ApiKeyId(f"key_{_body(now)}")

    def relay(self, now: datetime) -> RelayId:
        return RelayId(f"rly_{_body(now)}")

    def conversation(self, now: datetime) -> ConversationId:
        return ConversationId(f"cnv_{_body(now)}")

    def file(self) -> FileId:
        return FileId(f"file_{secrets.token_hex(16)}")

    def blob(self, now: datetime) -> BlobId:
        return BlobId(f"blob_{_body(now)}")

    def secret(self) -> str:
        return "ak_" + _chance()

    def session_secret(self) -> str:
        return "as_" + _chance()

    def link_secret(self) -> str:
        return "al_" + _chance()

    def pairing_code(self) -> str:
        return "".join(secrets.choice(PAIRING_ALPHABET) for _ in range(PAIRING_LENGTH))

    def seed(self) -> int:
        return secrets.randbits(63)

    def chance(self) -> float:
        return random.random()


def _chance() -> str:
    return "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(_SECRET_LENGTH))


def _body(now: datetime) -> str:
    return ids.encode(int(now.timestamp() * 1000), os.urandom(10))
