"""Blobs, manifests and tags in a folder: content-addressed, checked on arrival, whole or not there."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archipelag_contracts.durable import write_durably

from archipelag_oci.errors import (
    BadDocument,
    BadReference,
    NotInRegistry,
    TooLarge,
    WrongDigest,
    disk_full_is_told,
)
from archipelag_oci.manifests import Index, parse_manifest
from archipelag_oci.reference import is_digest, is_repository, is_tag, sha256

UPLOADS_MAX: Final = 256
ABANDONED_S: Final = 24 * 3600.0
"""Without a byte for so long, an upload is not gone on with."""

_UPLOAD: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Stored:
    data: bytes
    media_type: str
    digest: str


class Store:
    """Everything blocks for a moment only; blobs are linked to the repositories that were sent them."""

    def __init__(self, folder: Path, blob_bytes_max: int) -> None:
        self.blob_bytes_max = blob_bytes_max
        self._blobs = folder / "blobs"
        self._uploads = folder / "uploads"
        self._repositories = folder / "repositories"
        for each in (self._blobs, self._uploads, self._repositories):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)

    def blob(self, repository: str, digest: str) -> Path:
        """Raises NotInRegistry, also for a blob that only another repository has."""
        if not is_digest(digest) or not self._link(repository, "blobs", digest).exists():
            raise NotInRegistry(digest[:80])
        return self._blobs / digest.removeprefix("sha256:")

    def mount(self, repository: str, digest: str, source: str) -> bool:
        try:
            self.blob(source, digest)
        except NotInRegistry:
            return False
        _touch(self._link(repository, "blobs", digest))
        return True

    def begin(self, repository: str) -> str:
        """A new upload's id. Raises TooLarge when too many are under way."""
        self._check(repository)
        upload = secrets.token_hex(16)
        with disk_full_is_told(self._uploads):
            path = self._uploads / upload
            path.touch(mode=0o600)
        self._forget_abandoned(path.stat().st_mtime - ABANDONED_S)
        if sum(1 for _ in self._uploads.iterdir()) > UPLOADS_MAX:
            path.unlink()
            raise TooLarge(f"{UPLOADS_MAX} uploads are under way")
        return upload

    def _forget_abandoned(self, before_s: float) -> None:
        for path in self._uploads.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before_s:
                    path.unlink()

    def uploading(self, upload: str) -> Path:
        path = self._uploads / upload
        if not _UPLOAD.fullmatch(upload) or not path.exists():
            raise NotInRegistry("no such upload")
        return path

    def finish(self, repository: str, upload: str, digest: str) -> None:
        """Raises WrongDigest; the upload is gone either way."""
        self._check(repository)
        path = self.uploading(upload)
        try:
            with path.open("rb") as file:
                found = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
                if found != digest:
                    raise WrongDigest(f"sent was {found}")
                os.fsync(file.fileno())
            path.replace(self._blobs / digest.removeprefix("sha256:"))
        finally:
            path.unlink(missing_ok=True)
        _touch(self._link(repository, "blobs", digest))

    def put_manifest(self, repository: str, version: str, data: bytes, media_type: str) -> str:
        """Refuses one whose blobs are not here. Raises BadDocument, BadReference, WrongDigest, NotInRegistry."""
        self._check(repository)
        if not is_digest(version) and not is_tag(version):
            raise BadReference(f"{version[:80]!r} is neither a tag nor a digest")
        found = parse_manifest(data, media_type)
        digest = sha256(data)
        if is_digest(version) and version != digest:
            raise WrongDigest(f"sent was {digest}")
        if isinstance(found, Index):
            for entry in found.manifests:
                self.manifest(repository, entry.digest)
        else:
            for blob in (found.config, *found.layers):
                if self.blob(repository, blob.digest).stat().st_size != blob.size:
                    raise BadDocument(f"{blob.digest} has another size")
        with disk_full_is_told(self._repositories):
            place = self._link(repository, "manifests", digest)
            _write(place, media_type.encode() + b"\n" + data)
            if not is_digest(version):
                _write(self._link(repository, "tags", version), digest.encode())
        return digest

    def manifest(self, repository: str, version: str) -> Stored:
        try:
            if is_tag(version):
                version = self._link(repository, "tags", version).read_text()
            if not is_digest(version):
                raise NotInRegistry(version[:80])
            kind, _, data = (
                self._link(repository, "manifests", version).read_bytes().partition(b"\n")
            )
        except FileNotFoundError:
            raise NotInRegistry(version) from None
        return Stored(data, kind.decode(), version)

    def tags(self, repository: str) -> list[str]:
        self._check(repository)
        folder = self._repositories / repository / "_tags"
        if not (self._repositories / repository).exists():
            raise NotInRegistry(repository)
        return sorted(p.name for p in folder.iterdir() if is_tag(p.name)) if folder.exists() else []

    def _link(self, repository: str, kind: str, name: str) -> Path:
        """`_` begins no part of a repository's name, so that no repository lies in another's folders."""
        self._check(repository)
        return self._repositories / repository / f"_{kind}" / name.removeprefix("sha256:")

    def _check(self, repository: str) -> None:
        if not is_repository(repository):
            raise NotInRegistry("no repository's name")


def _touch(path: Path) -> None:
    with disk_full_is_told(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{secrets.token_hex(8)}"
    try:
        write_durably(part, data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
