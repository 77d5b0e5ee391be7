"""A file of a customer, and the blob that holds its bytes, which equal files share."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final, NewType

from archipelag_contracts.ids import Epoch, FileId, JobId, UserId

from archipelag_coordinator.errors import InvalidInput

BlobId = NewType("BlobId", str)
"""`blob_` and 26 characters: where the bytes stand, and no word of what they are."""

PIECE_BYTES: Final = 512 * 1024
"""Bytes travel and stand in pieces of this size; only the last may be shorter."""
SUM_BYTES: Final = 32
NAME_BYTES_MAX: Final = 200
PURPOSES: Final = ("user_data", "assistants", "vision", "batch", "fine-tune", "evals")
JOB_OUTPUT: Final = "job_output"
"""The purpose of what a job has made; nobody uploads under it."""
UPLOADS_AT_ONCE_MAX: Final = 8
OUTPUTS_MAX: Final = 64
"""Files that one attempt may make."""
FILES_MAX: Final = 10_000
"""Of one customer."""

# Controls, and what turns the direction of writing around: a name is shown to people.
_UNFIT: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)


class BlobState(StrEnum):
    UPLOADING = "uploading"
    STORED = "stored"
    LEAVING = "leaving"


@dataclass(frozen=True)
class Blob:
    """Bytes in pieces. `sums` are the SHA-256 of every piece, one after another."""

    id: BlobId
    owner_id: UserId
    """Who sends it; a stored blob belongs to whoever has a file of it."""
    state: BlobState
    created_at: datetime
    size_bytes: int = 0
    sha256: str = ""
    sums: bytes = b""
    job_id: JobId | None = None
    epoch: Epoch = Epoch(0)
    """Of the attempt that writes it, where an Island does."""
    name: str = ""
    media_type: str = ""

    @property
    def pieces(self) -> int:
        return len(self.sums) // SUM_BYTES

    def holds(self, number: int, data: bytes) -> bool:
        """Whether these are the bytes of that piece."""
        at = number * SUM_BYTES
        whole = min(PIECE_BYTES, self.size_bytes - number * PIECE_BYTES)
        return len(data) == whole and sha256(data).digest() == self.sums[at : at + SUM_BYTES]

    def grown(self, data: bytes) -> Blob:
        """With one more piece at its end."""
        assert self.state is BlobState.UPLOADING and 0 < len(data) <= PIECE_BYTES
        assert self.size_bytes % PIECE_BYTES == 0, "nothing comes after a short piece"
        sums = self.sums + sha256(data).digest()
        return replace(self, size_bytes=self.size_bytes + len(data), sums=sums)

    def stored(self, digest: str) -> Blob:
        assert self.state is BlobState.UPLOADING and len(digest) == 64
        return replace(self, state=BlobState.STORED, sha256=digest)


@dataclass(frozen=True)
class File:
    """One customer's. Equal bytes of two customers are two files, and neither learns of the other."""

    id: FileId
    owner_id: UserId
    blob_id: BlobId
    name: str
    purpose: str
    media_type: str
    """By its first bytes, never by its name or its sender's word."""
    size_bytes: int
    sha256: str
    created_at: datetime
    expires_at: datetime
    job_id: JobId | None = None
    """The job that made it."""
    epoch: Epoch = Epoch(0)
    """The attempt that made it: only that of the attempt which completed is shown."""


@dataclass(frozen=True)
class Input:
    """A file as a job reads it: it stays readable for that job though its owner deletes it meanwhile."""

    job_id: JobId
    file_id: FileId
    blob_id: BlobId
    name: str
    media_type: str
    size_bytes: int
    sha256: str


def input_of(job_id: JobId, file: File) -> Input:
    return Input(
        job_id, file.id, file.blob_id, file.name, file.media_type, file.size_bytes, file.sha256
    )


def clean_name(given: str) -> str:
    """The last part of a path, without what does not belong into a name; `file` where nothing is left."""
    last = re.split(r"[/\\]", given)[-1]
    fit = _UNFIT.sub("", last.encode("utf-8", "replace").decode()).strip()
    if fit.strip(".") == "":
        return "file"
    short = fit.encode()[:NAME_BYTES_MAX].decode("utf-8", "ignore")
    stem, dot, ending = fit.rpartition(".")
    if short != fit and stem and dot and len(ending.encode()) <= 16:
        # A long name keeps its ending, which programs go by.
        room = NAME_BYTES_MAX - len(ending.encode()) - 1
        return f"{stem.encode()[:room].decode('utf-8', 'ignore')}.{ending}"
    return short


def check_purpose(given: str) -> str:
    """Raises InvalidInput."""
    if given not in PURPOSES:
        raise InvalidInput({"purpose": [f"must be one of {', '.join(PURPOSES)}"]})
    return given
