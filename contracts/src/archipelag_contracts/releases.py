"""A release of the Island's software: a signed document that says which file, until when, and who may take it when.

JSON, one name a line, so that an installer in plain shell reads it too; signed as `cosign sign-blob` does, so that
`openssl dgst` verifies it. Times are Unix seconds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from archipelag_contracts import cosign
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.errors import BadMessage, BadSignature

FORMAT: Final = 1
DOCUMENT: Final = "release.json"
SIGNATURE: Final = "release.json.sig"
DOCUMENT_BYTES_MAX: Final = 64 * 1024
SIGNATURE_BYTES_MAX: Final = 512
FILE_BYTES_MAX: Final = 1 << 30
LIFE_S: Final = 30 * 86_400
WAVES: Final = ((1, 0), (10, 86_400), (50, 3 * 86_400), (100, 7 * 86_400))
"""Percent of all Islands → seconds after the release was issued from which on they may take it."""

_VERSION: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){1,3}([a-z0-9.+-]{0,24})")
_PLATFORM: Final = re.compile(r"linux-[a-z0-9_]{1,20}")
_FILE: Final = re.compile(r"sha256:([0-9a-f]{64}) ([0-9]{1,10})")


@dataclass(frozen=True)
class File:
    digest: str
    """Hexadecimal SHA-256."""
    size: int


@dataclass(frozen=True)
class Release:
    number: int
    """Rises with each: what an Island compares, since versions are for people."""
    version: str
    issued_at: int
    expires_at: int
    waves: tuple[tuple[int, int], ...]
    files: Mapping[str, File]
    """By platform: `linux-x86_64`."""

    def percent(self, now: int) -> int:
        """How many of a hundred Islands may take it by now."""
        return max((p for p, after in self.waves if now >= self.issued_at + after), default=0)

    def reaches(self, island: str, now: int) -> bool:
        """Whether this Island is among them: another share of them is first with each release."""
        drawn = hashlib.sha256(f"{self.number} {island}".encode()).digest()
        return int.from_bytes(drawn[:8], "big") % 10_000 < self.percent(now) * 100


def document(release: Release) -> bytes:
    """The bytes that are signed. Raises BadMessage for what `parse` would not take."""
    data: dict[str, Any] = {
        "format": FORMAT,
        "number": release.number,
        "version": release.version,
        "issued_at": release.issued_at,
        "expires_at": release.expires_at,
        "files": {
            name: f"sha256:{file.digest} {file.size}"
            for name, file in sorted(release.files.items())
        },
        "waves": {str(percent): after for percent, after in release.waves},
    }
    made = (json.dumps(data, indent=1) + "\n").encode()
    parse(made)
    return made


def sign(key: CosignKey, made: bytes) -> bytes:
    """What stands in the file beside the document."""
    return base64.b64encode(key.sign(made)) + b"\n"


def opened(made: bytes, signature: bytes, public: bytes) -> Release:
    """The release, once the key (DER) signed these bytes. Raises BadSignature, BadMessage."""
    if len(made) > DOCUMENT_BYTES_MAX or len(signature) > SIGNATURE_BYTES_MAX:
        raise BadMessage("the release is larger than any can be")
    try:
        raw = base64.b64decode(signature.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise BadSignature("the signature cannot be read") from None
    cosign.verify_blob(public, made, raw)
    return parse(made)


def parse(made: bytes) -> Release:
    """Raises BadMessage."""
    try:
        data = json.loads(made)
        if data["format"] != FORMAT:
            raise BadMessage(f"a release of format {data['format']!r}, which is not known here")
        release = Release(
            number=_whole(data["number"], 1),
            version=_text(data["version"], _VERSION),
            issued_at=_whole(data["issued_at"]),
            expires_at=_whole(data["expires_at"]),
            waves=tuple((_whole(int(p)), _whole(after)) for p, after in data["waves"].items()),
            files={_text(name, _PLATFORM): _file(told) for name, told in data["files"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadMessage(f"not a release: {error}") from None
    if not release.files or not all(0 <= percent <= 100 for percent, _ in release.waves):
        raise BadMessage("not a release: it names no file, or more Islands than there are")
    if release.expires_at <= release.issued_at:
        raise BadMessage("not a release: it expires before it begins")
    return release


def _whole(value: object, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 53:
        raise ValueError(f"{value!r} is no number that can stand there")
    return value


def _text(value: object, shape: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not shape.fullmatch(value):
        raise ValueError(f"{value!r} is not as it must be")
    return value


def _file(value: object) -> File:
    found = _FILE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 0 < int(found[2]) <= FILE_BYTES_MAX:
        raise ValueError(f"{value!r} is no file")
    return File(found[1], int(found[2]))
