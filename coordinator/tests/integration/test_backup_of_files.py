"""The bytes of customers' files beside a backup: from a real store, and back into an empty one, or not at all."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from archipelag_coordinator import backup as backups
from archipelag_coordinator.adapters.files_folder import FilesFolder, FolderRefused
from archipelag_coordinator.adapters.postgres.restored import NotEmpty
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.adapters.s3.blobs import S3Blobs, bucket_of
from archipelag_coordinator.adapters.s3.signing import Access
from archipelag_coordinator.backup_files import Bytes
from archipelag_coordinator.domain.file import PIECE_BYTES, Blob, BlobId
from archipelag_coordinator.services.ports_of_files import Blobs
from archipelag_coordinator.testing.builders import a_customer
from archipelag_coordinator.testing.check_files import a_blob, a_file
from archipelag_coordinator.testing.fakes import FakeClock
from archipelag_coordinator.testing.memory_files import MemoryBlobs
from archipelag_embedded.postgres import Postgres
from archipelag_embedded.serving import served
from nanio.app import build_app
from nanio.auth.credentials import StaticCredentialResolver
from nanio.config import Settings

PLENTY = 1 << 40
CONTENTS = (b"", b"a line\n", bytes(n % 251 for n in range(2 * PIECE_BYTES + 17)))


@pytest.fixture
async def bucket(tmp_path: Path) -> AsyncIterator[Blobs]:
    """In a real server of another's making. For NATS see `tests/upgrade/test_restored.py`."""
    (tmp_path / "s3" / "files").mkdir(parents=True)
    access = Access("AKIDTEST", "secret", "us-east-1")
    known = StaticCredentialResolver({access.key_id: access.secret})
    async with served(build_app(Settings(data_dir=tmp_path / "s3", credentials=known))) as address:
        where = bucket_of(f"s3://files?endpoint={address}")
        store = S3Blobs(where, access, lambda: datetime.now(UTC))
        yield store
        await store.close()


@pytest.fixture
def empty(postgres_server: Postgres) -> Iterator[str]:
    """An empty database to restore into."""
    dsn = postgres_server.create_database("restored")
    yield dsn
    postgres_server.drop_database("restored")


@dataclass
class Kept:
    """A network with files, and where they are backed up."""

    dsn: str
    home: Path
    files: Bytes
    stored: dict[BlobId, bytes]

    async def backup(self, name: str, passphrase: bytes | None = None) -> dict[str, Any]:
        return await backups.backup(self.dsn, self.home / name, passphrase, self.files)

    async def restore(self, into: str, name: str, **more: Any) -> dict[str, Any]:
        return await backups.restore(into, self.home / name, FakeClock(), files=self.files, **more)

    async def lose(self) -> None:
        for blob in self.stored:
            await self.files.store.delete(blob)

    async def found(self, dsn: str) -> dict[BlobId, bytes]:
        """What the database at this address and the store have together, as a customer would read it."""
        there = {}
        async with PostgresStore(dsn, pool_max=2) as store:
            for name in self.stored:
                async with store.begin() as tx:
                    blob = await tx.files.blob(name)
                if blob is not None:
                    there[name] = await read(self.files.store, blob)
        return there


async def read(store: Blobs, blob: Blob) -> bytes:
    pieces = [await store.get(blob.id, number) for number in range(blob.pieces)]
    assert all(data is not None and blob.holds(n, data) for n, data in enumerate(pieces))
    return b"".join(data or b"" for data in pieces)


async def add(store: PostgresStore, blobs: Blobs, *contents: bytes) -> dict[BlobId, bytes]:
    """A new customer's files."""
    owner, _, _ = await a_customer(store)
    added = {}
    for data in contents:
        blob = a_blob(owner.id)
        async with store.begin() as tx:
            await tx.files.begin(blob)
            for number, at in enumerate(range(0, len(data), PIECE_BYTES)):
                piece = data[at : at + PIECE_BYTES]
                await blobs.put(blob.id, number, piece)
                blob = blob.grown(piece)
            stored = await tx.files.settle(blob.stored(sha256(data).hexdigest()))
            await tx.files.add(a_file(stored, owner.id), bytes_max=PLENTY)
        added[blob.id] = data
    return added


async def kept_in(
    blobs: Blobs, store: PostgresStore, dsn: str, home: Path, passphrase: bytes | None = None
) -> Kept:
    folder = await asyncio.to_thread(FilesFolder.made, home / "bytes", passphrase)
    return Kept(dsn, home, Bytes(blobs, folder), await add(store, blobs, *CONTENTS))


@pytest.fixture
async def kept(store: PostgresStore, postgres_dsn: str, tmp_path: Path) -> Kept:
    """Over a store in memory, which can be spoilt."""
    return await kept_in(MemoryBlobs(), store, postgres_dsn, tmp_path)


@pytest.mark.parametrize("passphrase", [None, b"correct horse battery"], ids=["plain", "sealed"])
async def test_every_byte_comes_back_after_everything_was_lost(
    bucket: Blobs,
    store: PostgresStore,
    postgres_dsn: str,
    empty: str,
    tmp_path: Path,
    passphrase: bytes | None,
) -> None:
    kept = await kept_in(bucket, store, postgres_dsn, tmp_path, passphrase)
    written = await kept.backup("first", passphrase)
    await kept.lose()

    told = await kept.restore(empty, "first", passphrase=passphrase)

    assert (written["files"], written["files_copied"], written["files_lost"]) == (3, 3, ())
    assert written["files_bytes"] == sum(map(len, CONTENTS))
    # The empty one has no piece that could be put.
    assert (told["files"], told["files_put"], told["files_missing"]) == (3, 2, ())
    assert backups.whole(told)
    assert await kept.found(empty) == kept.stored


async def test_the_next_backup_copies_what_is_new_and_each_restores_its_own(
    kept: Kept, store: PostgresStore, empty: str
) -> None:
    await kept.backup("first")
    later = await add(store, kept.files.store, b"came later")
    kept.stored |= later

    written = await kept.backup("second")
    await kept.lose()
    told = await kept.restore(empty, "first")

    assert (written["files"], written["files_copied"]) == (4, 1)
    assert told["files"] == 3
    assert await kept.found(empty) == {
        name: data for name, data in kept.stored.items() if name not in later
    }


async def test_a_store_that_was_not_lost_is_written_nothing(kept: Kept, empty: str) -> None:
    await kept.backup("first")

    told = await kept.restore(empty, "first")

    assert (told["files"], told["files_put"]) == (3, 0)
    assert await kept.found(empty) == kept.stored


async def test_what_is_damaged_in_the_store_is_put_right(kept: Kept, empty: str) -> None:
    await kept.backup("first")
    large = max(kept.stored, key=lambda name: len(kept.stored[name]))
    await kept.files.store.put(large, 1, b"something else")

    told = await kept.restore(empty, "first")

    assert told["files_put"] == 1
    assert await kept.found(empty) == kept.stored


async def test_bytes_that_the_network_has_lost_are_named_and_the_rest_is_kept(
    kept: Kept, empty: str
) -> None:
    large = max(kept.stored, key=lambda name: len(kept.stored[name]))
    await kept.files.store.put(large, 1, b"something else")

    written = await kept.backup("first")
    told = await kept.restore(empty, "first")

    assert (written["files"], written["files_lost"]) == (2, (large,))
    assert not backups.whole(written)
    assert told["files_missing"] == (large,)
    assert not backups.whole(told)


async def test_a_file_that_its_customer_deleted_meanwhile_is_no_loss(
    kept: Kept, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = max(kept.stored, key=lambda name: len(kept.stored[name]))
    real = kept.files.store.get

    async def deleted(blob: BlobId, number: int) -> bytes | None:
        if blob != gone:
            return await real(blob, number)
        async with store.begin() as tx:
            await tx.connection.execute("UPDATE blobs SET state = 'leaving' WHERE id = %s", [gone])
        return None

    monkeypatch.setattr(kept.files.store, "get", deleted)

    written = await kept.backup("first")

    assert (written["files"], written["files_lost"]) == (2, ())
    assert backups.whole(written)


@pytest.mark.parametrize("spoil", ["damaged", "missing"])
async def test_with_a_spoilt_folder_nothing_is_restored_at_all(
    kept: Kept, empty: str, spoil: str
) -> None:
    await kept.backup("first")
    await kept.lose()
    files = [path for path in (kept.home / "bytes" / "bytes").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    if spoil == "missing":
        largest.unlink()
    else:
        with largest.open("r+b") as file:
            file.seek(PIECE_BYTES + 5)
            file.write(b"!!")

    with pytest.raises(FolderRefused, match="1 of 3 files"):
        await kept.restore(empty, "first")

    assert isinstance(kept.files.store, MemoryBlobs) and not kept.files.store.pieces
    assert await tables(empty) == 0


async def test_with_a_full_store_the_database_stays_empty_and_it_can_be_done_again(
    kept: Kept, empty: str
) -> None:
    await kept.backup("first")
    await kept.lose()
    assert isinstance(kept.files.store, MemoryBlobs)
    kept.files.store.full = True

    with pytest.raises(ConnectionError, match="full"):
        await kept.restore(empty, "first")
    left = await tables(empty)
    kept.files.store.full = False
    told = await kept.restore(empty, "first")

    assert left == 0
    assert backups.whole(told)
    assert await kept.found(empty) == kept.stored


async def test_with_a_full_disk_there_is_no_backup_and_no_half_of_one(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as during:
        during.setattr(FilesFolder, "note", full)
        with pytest.raises(OSError, match="No space"):
            await kept.backup("first")

    assert sorted(path.name for path in kept.home.iterdir()) == ["bytes"]
    assert backups.whole(await kept.backup("first"))


async def test_a_database_with_something_in_it_keeps_its_bytes_too(kept: Kept) -> None:
    await kept.backup("first")
    await kept.lose()

    with pytest.raises(NotEmpty):
        await kept.restore(kept.dsn, "first")

    assert isinstance(kept.files.store, MemoryBlobs) and not kept.files.store.pieces


async def tables(dsn: str) -> int:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        cursor = await connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
