"""A network's database in one file, the bytes of its files beside it, and their way back: with the books and the audit
log checked on both sides."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from archipelag_contracts.ids import UserId

from archipelag_coordinator.adapters.postgres.dump import READ_BYTES, dump, load
from archipelag_coordinator.adapters.postgres.migrate import migrate, missing
from archipelag_coordinator.adapters.postgres.picture import picture
from archipelag_coordinator.adapters.postgres.restored import (
    Restoring,
    opening,
    server_major,
    take_back,
    writable,
)
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.adapters.sealed_stream import (
    SALT_BYTES,
    Sealing,
    derived,
    is_sealed,
    opened,
)
from archipelag_coordinator.adapters.whole_file import made_whole, private
from archipelag_coordinator.backup_files import Bytes, bring_back, keep, missing_bytes
from archipelag_coordinator.clock import Clock
from archipelag_coordinator.domain.file import Blob
from archipelag_coordinator.services.audit import check_log

OPERATOR: Final = UserId("operator")
"""Who acts at the database itself, in the audit log."""
PASSPHRASE_MIN: Final = 12


class BackupRefused(RuntimeError):
    """Nothing was written: the message says why, and what to do."""


def passphrase_of(path: Path | None) -> bytes | None:
    """The first line of the file. Raises BackupRefused where it is too short to keep anybody out."""
    if path is None:
        return None
    passphrase = path.read_bytes().partition(b"\n")[0].strip()
    if len(passphrase) < PASSPHRASE_MIN:
        raise BackupRefused(
            f"the first line of {path} must be a passphrase of {PASSPHRASE_MIN} characters or more"
        )
    return passphrase


def named(path: Path, now: datetime) -> Path:
    """The file of a backup that begins now, where `path` is a folder; else `path`."""
    return path / f"network-{now:%Y-%m-%dT%H%M%SZ}.backup" if path.is_dir() else path


async def backup(
    dsn: str, path: Path, passphrase: bytes | None = None, files: Bytes | None = None
) -> dict[str, object]:
    """Writes the file, readable by its owner only, and returns what is in it. The network goes on meanwhile. With
    `files`, their bytes are copied into that folder, beside those of earlier backups.

    Raises BackupRefused, FolderRefused, DumpFailed and OSError; then no file is left.
    """
    _check_new(path)
    major = await asyncio.to_thread(server_major, dsn)
    with made_whole(path) as unfinished:
        async with picture(dsn) as now:
            figures = await now.figures()
            await asyncio.to_thread(_write, unfinished, dsn, major, now.name, passphrase)
            stored = await now.blobs() if files is not None else []
        summed = await asyncio.to_thread(_sha256, unfinished)
        kept = await _keep(dsn, files, stored, summed) if files is not None else {}
    told = {"file": str(path), "sha256": summed, "encrypted": passphrase is not None}
    return told | asdict(figures) | kept


async def restore(
    dsn: str,
    path: Path,
    clock: Clock,
    passphrase: bytes | None = None,
    *,
    end_sessions: bool = True,
    files: Bytes | None = None,
) -> dict[str, object]:
    """Brings the file into an empty database, makes it safe to run on (see `restored`), and checks it. With `files`,
    every byte of them is checked first, and is in the store before anything is in the database.

    Raises NotEmpty, BackupRefused, FolderRefused, NotOpened, DumpFailed and OSError; then nothing is in the database,
    unless the message says so.
    """
    summed = await asyncio.to_thread(_sha256, path)
    listed = await asyncio.to_thread(files.folder.checked, summed) if files is not None else []
    brought = 0
    with _pieces(path, passphrase) as pieces:
        major = await asyncio.to_thread(server_major, dsn)
        with Restoring(dsn):
            if files is not None:
                brought = await bring_back(files, listed)
            await asyncio.to_thread(load, writable(dsn), major, pieces)
    async with picture(dsn) as came:
        figures = await came.figures()
        lacking = missing_bytes(await came.blobs(), listed) if files is not None else ()
    _check_known(figures.schema)
    await asyncio.to_thread(migrate, writable(dsn))
    async with opening(dsn) as tx:
        taken = await take_back(tx, end_sessions=end_sessions)
        detail = f"sha256 {summed}, {taken.attempts_taken_back} attempts taken back"
        await tx.audit.note(clock.now(), OPERATOR, "database.restored", path.name, detail)
    async with PostgresStore(dsn, pool_max=2) as store:
        log = await check_log(store)
    told = {"file": str(path), "sha256": summed} | asdict(figures) | asdict(taken)
    if files is not None:
        told |= {"files": len(listed), "files_put": brought, "files_missing": lacking}
    return told | {"books_exact": not figures.drifted, "audit_whole": log.broken_at is None}


def whole(told: dict[str, object]) -> bool:
    """Whether what was written or restored is as it should be."""
    parts = told.get("books_exact", True) and told.get("audit_whole", True)
    return bool(parts and not told.get("files_lost") and not told.get("files_missing"))


async def _keep(dsn: str, files: Bytes, stored: Sequence[Blob], summed: str) -> dict[str, object]:
    kept, listed = await keep(files, stored)
    lost: tuple[str, ...] = ()
    if kept.files_lost:
        async with picture(dsn) as now:
            lost = await now.still_stored(kept.files_lost)  # The others their customers deleted.
    await asyncio.to_thread(files.folder.note, summed, listed)
    return asdict(replace(kept, files_lost=lost))


def _check_new(path: Path) -> None:
    if path.exists():
        raise BackupRefused(f"{path} is there already: name a file that is not")


def _check_known(schema: str) -> None:
    try:
        missing(set(schema.split()))
    except KeyError as unknown:
        raise BackupRefused(
            f"the backup is of a newer version, which has {unknown.args[0]}: drop this database, and restore into "
            "another one with that version's program"
        ) from None


def _write(path: Path, dsn: str, major: int, snapshot: str, passphrase: bytes | None) -> None:
    with private(path) as file:
        if passphrase is None:
            dump(dsn, major, snapshot, file.write)
        else:
            salt = secrets.token_bytes(SALT_BYTES)
            sealing = Sealing(file, derived(passphrase, salt), salt)
            dump(dsn, major, snapshot, sealing.write)
            sealing.end()


@contextmanager
def _pieces(path: Path, passphrase: bytes | None) -> Iterator[Iterator[bytes]]:
    with path.open("rb") as file:
        sealed = is_sealed(file.read(32))
        file.seek(0)
        if sealed and passphrase is None:
            raise BackupRefused(f"{path} is encrypted: give --passphrase-file")
        if not sealed and passphrase is not None:
            raise BackupRefused(f"{path} is not encrypted: leave --passphrase-file out")
        whole = iter(lambda: file.read(READ_BYTES), b"")
        yield opened(file, partial(derived, passphrase)) if passphrase else whole


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
