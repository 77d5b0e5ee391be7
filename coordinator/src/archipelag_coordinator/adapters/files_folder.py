"""Bytes of files in a folder of backups, under their own sums: each once, however many backups are of it.

    folder.json         what this is, and with a passphrase the salt of its key
    bytes/ab/abcd…      the bytes whose name that is; sealed where there is a passphrase
    lists/SHA256        what belongs to the backup of the database with this sum

A name is the SHA-256 of the bytes, or, under a passphrase, an HMAC of it: who has the folder and a guess at a file
learns nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from archipelag_coordinator.adapters.sealed_stream import (
    KEY_BYTES,
    SALT_BYTES,
    NotOpened,
    Sealing,
    derived,
    opened,
    sealed_bytes,
)
from archipelag_coordinator.adapters.whole_file import made_whole, private
from archipelag_coordinator.domain.file import BlobId

READ_BYTES: Final = 1 << 20
KIND: Final = "archipelag files 1"
SHOWN_MAX: Final = 5
"""Damaged files that are named; the others are counted."""
_SUM: Final = re.compile(r"[0-9a-f]{64}")
_BLOB: Final = re.compile(r"blob_[0-9A-Za-z]{26}")


class FolderRefused(RuntimeError):
    """Nothing was changed: the message says what is wrong with the folder, and what to do."""


@dataclass(frozen=True)
class Listed:
    """One blob of a backup."""

    blob: BlobId
    sha256: str
    size_bytes: int


class Written(Protocol):
    def write(self, data: bytes) -> object: ...


class FilesFolder:
    """Open it by `made` or `found`. Raises OSError wherever the disk does."""

    def __init__(self, path: Path, key: bytes | None) -> None:
        self.path = path
        self._key = key

    @classmethod
    def made(cls, path: Path, passphrase: bytes | None) -> FilesFolder:
        """The folder for one more backup; a new one where there is none. Raises FolderRefused."""
        head = path / "folder.json"
        if not head.exists():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise FolderRefused(f"{path} is no folder of files' backups, and not empty")
            _write_head(head, passphrase)
        return cls.found(path, passphrase)

    @classmethod
    def found(cls, path: Path, passphrase: bytes | None) -> FilesFolder:
        """The folder as it was made. Raises FolderRefused: it is none, or was made under another passphrase."""
        try:
            told = json.loads((path / "folder.json").read_bytes())
            kind, salt, check = told["kind"], bytes.fromhex(told["salt"]), told["check"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            raise FolderRefused(f"{path} is no folder of files' backups") from None
        if kind != KIND or (salt and len(salt) != SALT_BYTES):
            raise FolderRefused(f"{path} is of another version: {kind}")
        if bool(salt) != (passphrase is not None):
            how = "encrypted: give --passphrase-file" if salt else "not encrypted"
            raise FolderRefused(f"{path} is {how}")
        key = derived(passphrase, salt) if passphrase is not None else None
        if not hmac.compare_digest(_check(key), str(check)):
            raise FolderRefused(f"{path} was made under another passphrase")
        return cls(path, key)

    def has(self, one: Listed) -> bool:
        """Whether it stands here in its full length; what is in it is looked at by `read`."""
        wanted = one.size_bytes if self._key is None else sealed_bytes(one.size_bytes)
        path = self._bytes(one.sha256)
        return path.is_file() and path.stat().st_size == wanted

    @contextmanager
    def keeping(self, one: Listed) -> Iterator[Written]:
        """Takes its bytes; they stand here if the block ends well and they are those of its sum. Raises
        FolderRefused."""
        path = self._bytes(one.sha256)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._written(path) as into:
            summed = _Summed(into)
            yield summed
            if summed.digest() != one.sha256:
                raise FolderRefused(f"{one.blob} is not what its sum says")

    def read(self, one: Listed) -> Iterator[bytes]:
        """Its bytes, in pieces of one size. Raises FolderRefused, at the end at the latest, for what is not its own."""
        summed = hashlib.sha256()
        try:
            with self._bytes(one.sha256).open("rb") as file:
                for data in self._pieces(file):
                    summed.update(data)
                    yield data
        except FileNotFoundError:
            raise FolderRefused(f"{one.blob} is missing") from None
        except NotOpened as error:
            raise FolderRefused(f"{one.blob} is damaged: {error}") from None
        if summed.hexdigest() != one.sha256:
            raise FolderRefused(f"{one.blob} is damaged")

    def note(self, backup_sha256: str, listed: Sequence[Listed]) -> None:
        """What belongs to this backup of the database: written last."""
        path = self._list(backup_sha256)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with self._written(path) as into:
            into.write(json.dumps([asdict(one) for one in listed]).encode())

    def checked(self, backup_sha256: str) -> list[Listed]:
        """What belongs to this backup of the database, every byte of it read and found right. Raises FolderRefused,
        which names what is missing or damaged."""
        listed, wrong = self._listed(backup_sha256), []
        for one in listed:
            try:
                for _ in self.read(one):
                    pass
            except FolderRefused as error:
                wrong.append(str(error))
        if wrong:
            more = f", and {len(wrong) - SHOWN_MAX} more" if len(wrong) > SHOWN_MAX else ""
            raise FolderRefused(
                f"{len(wrong)} of {len(listed)} files' bytes in {self.path} are not as they were: "
                f"{'; '.join(wrong[:SHOWN_MAX])}{more}. Nothing was changed: take another copy of the folder, or "
                "restore the database alone, without --files"
            )
        return listed

    def _listed(self, backup_sha256: str) -> list[Listed]:
        try:
            with self._list(backup_sha256).open("rb") as file:
                told = json.loads(b"".join(self._pieces(file)))
            if not isinstance(told, list):
                raise TypeError("it is no list")
            listed = [Listed(BlobId(one["blob"]), one["sha256"], one["size_bytes"]) for one in told]
        except FileNotFoundError:
            raise FolderRefused(f"{self.path} has no files of this backup") from None
        except (NotOpened, ValueError, KeyError, TypeError) as error:
            raise FolderRefused(f"the list of this backup's files is damaged: {error}") from None
        for one in listed:
            # They become names of files and subjects of messages.
            if not _BLOB.fullmatch(str(one.blob)) or not _SUM.fullmatch(str(one.sha256)):
                raise FolderRefused("the list of this backup's files is damaged: it names no blob")
        return listed

    @contextmanager
    def _written(self, path: Path) -> Iterator[Written]:
        with made_whole(path) as unfinished, private(unfinished) as file:
            if self._key is None:
                yield file
                return
            salt = secrets.token_bytes(SALT_BYTES)
            sealing = Sealing(file, _key_of_file(self._key, salt), salt)
            yield sealing
            sealing.end()

    def _pieces(self, file: BinaryIO) -> Iterator[bytes]:
        if self._key is None:
            return iter(lambda: file.read(READ_BYTES), b"")
        return opened(file, partial(_key_of_file, self._key))

    def _bytes(self, sha256: str) -> Path:
        name = sha256 if self._key is None else _mac(self._key, sha256)
        return self.path / "bytes" / name[:2] / name

    def _list(self, backup_sha256: str) -> Path:
        return self.path / "lists" / backup_sha256


class _Summed:
    def __init__(self, into: Written) -> None:
        self._into = into
        self._sum = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._sum.update(data)
        self._into.write(data)

    def digest(self) -> str:
        return self._sum.hexdigest()


def _write_head(path: Path, passphrase: bytes | None) -> None:
    salt = secrets.token_bytes(SALT_BYTES) if passphrase is not None else b""
    key = derived(passphrase, salt) if passphrase is not None else None
    told = {"kind": KIND, "salt": salt.hex(), "check": _check(key)}
    with made_whole(path) as unfinished, private(unfinished) as file:
        file.write(json.dumps(told).encode())


def _check(key: bytes | None) -> str:
    return _mac(key, "check") if key is not None else ""


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _key_of_file(key: bytes, salt: bytes) -> bytes:
    """Of its own, since pieces are counted from 0 in each file."""
    return HKDF(SHA256(), KEY_BYTES, salt, b"archipelag file").derive(key)
