"""Typed identifiers: a prefix that tells what it names, then 26 characters of Crockford base32."""

from __future__ import annotations

import re
from typing import Final, NewType

from archipelag_contracts.errors import BadId

JobId = NewType("JobId", str)
IslandId = NewType("IslandId", str)
UserId = NewType("UserId", str)
ApiKeyId = NewType("ApiKeyId", str)
RelayId = NewType("RelayId", str)
"""One Coordinator process; new at each start."""
Epoch = NewType("Epoch", int)
"""The attempt's number within its job, from 1; fences off older ones."""
Position = NewType("Position", int)
"""Place of an item within a job's answer, from 0."""
CargoDigest = NewType("CargoDigest", str)
"""`sha256:` and 64 hexadecimal digits of the manifest's canonical bytes."""

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
BODY_LENGTH: Final = (
    26  # 130 bits: a millisecond time stamp and 80 random bits (ULID), or plain chance
)

FileId = NewType("FileId", str)
BatchId = NewType("BatchId", str)

_SHAPES: Final = {
    prefix: re.compile(rf"{prefix}_[{ALPHABET}]{{{BODY_LENGTH}}}")
    for prefix in ("job", "bat", "isl", "usr", "key", "rly")
}
_FILE: Final = re.compile(r"file_[0-9a-f]{32}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def encode(milliseconds: int, chance: bytes) -> str:
    """A ULID body: 48 bits of time, so that ids sort by age, and 80 bits of `chance` (10 bytes)."""
    assert 0 <= milliseconds < 2**48 and len(chance) == 10
    number = (milliseconds << 80) | int.from_bytes(chance)
    return "".join(ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def _parse(prefix: str, text: str) -> str:
    if not _SHAPES[prefix].fullmatch(text):
        raise BadId(f"not a {prefix}_… id: {text[:64]!r}")
    return text


def job_id(text: str) -> JobId:
    """Raises BadId."""
    return JobId(_parse("job", text))


def batch_id(text: str) -> BatchId:
    """Raises BadId."""
    return BatchId(_parse("bat", text))


def island_id(text: str) -> IslandId:
    """Raises BadId."""
    return IslandId(_parse("isl", text))


def user_id(text: str) -> UserId:
    """Raises BadId."""
    return UserId(_parse("usr", text))


def api_key_id(text: str) -> ApiKeyId:
    """Raises BadId."""
    return ApiKeyId(_parse("key", text))


def relay_id(text: str) -> RelayId:
    """Raises BadId."""
    return RelayId(_parse("rly", text))


def file_id(text: str) -> FileId:
    """Raises BadId."""
    if not _FILE.fullmatch(text):
        raise BadId(f"not a file_… id: {text[:64]!r}")
    return FileId(text)


def cargo_digest(text: str) -> CargoDigest:
    """Raises BadId."""
    if not _DIGEST.fullmatch(text):
        raise BadId(f"not a digest: {text[:80]!r}")
    return CargoDigest(text)
