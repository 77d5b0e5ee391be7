"""What every store must do with files; part of `CheckStore`. And what every store of bytes must: `CheckBlobs`."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from archipelag_contracts.ids import Epoch, FileId, UserId
from archipelag_contracts.units import ZERO

from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.file import (
    PIECE_BYTES,
    UPLOADS_AT_ONCE_MAX,
    Blob,
    BlobId,
    BlobState,
    File,
    input_of,
)
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.errors import Conflict, StorageExceeded
from archipelag_coordinator.services.ports import Store, Tx
from archipelag_coordinator.services.ports_of_files import Blobs
from archipelag_coordinator.testing.builders import a_customer, a_user, an_id
from archipelag_coordinator.testing.check_work import Scene
from archipelag_coordinator.testing.fakes import START

DAY = timedelta(days=1)
PLENTY = 1 << 40


def a_blob(owner: UserId, **changes: Any) -> Blob:
    sane: dict[str, Any] = {
        "id": BlobId(an_id("blob")),
        "owner_id": owner,
        "state": BlobState.UPLOADING,
        "created_at": START,
    }
    return Blob(**sane | changes)


def a_file(blob: Blob, owner: UserId, **changes: Any) -> File:
    sane: dict[str, Any] = {
        "id": FileId(f"file_{secrets.token_hex(16)}"),
        "owner_id": owner,
        "blob_id": blob.id,
        "name": "notes.txt",
        "purpose": "user_data",
        "media_type": "text/plain",
        "size_bytes": blob.size_bytes,
        "sha256": blob.sha256,
        "created_at": START,
        "expires_at": START + DAY,
    }
    return File(**sane | changes)


async def a_stored_file(tx: Tx, owner: UserId, data: bytes = b"hello", **changes: Any) -> File:
    blob = a_blob(owner)
    await tx.files.begin(blob)
    stored = await tx.files.settle(blob.grown(data).stored(sha256(data).hexdigest()))
    file = a_file(stored, owner, **changes)
    await tx.files.add(file, bytes_max=PLENTY)
    return file


async def swept(store: Store, now: datetime = START) -> list[BlobId]:
    """Sweeps as long as there is something; returns the blobs that leave."""
    async with store.begin() as tx:
        while await tx.files.sweep(now, now - timedelta(hours=6), 100):
            pass
        return await tx.files.leaving(100)


class CheckFiles:
    async def test_a_file_is_its_owners_alone(self, store: Store) -> None:
        owner, other = [(await a_customer(store))[0] for _ in range(2)]
        async with store.begin() as tx:
            file = await a_stored_file(tx, owner.id)

            assert await tx.files.get(owner.id, file.id, START) == file
            assert await tx.files.lock(owner.id, file.id, START) == file
            assert await tx.files.linked(file.id, START) == file
            assert await tx.files.get(other.id, file.id, START) is None
            assert not await tx.files.remove(other.id, file.id)
            assert await tx.files.of_user(other.id, START, limit=10) == []

    async def test_a_blob_is_read_as_it_was_written(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        blob = a_blob(owner.id, name="nul \0", job_id=None)
        grown = blob.grown(b"\0" * PIECE_BYTES).grown(b"x")
        async with store.begin() as tx:
            await tx.files.begin(blob)
            await tx.files.settle(grown.stored("a" * 64))
            found = await tx.files.blob(blob.id)

        assert found is not None and (found.sums, found.size_bytes) == (grown.sums, PIECE_BYTES + 1)
        assert found.holds(1, b"x") and not found.holds(1, b"y") and not found.holds(2, b"")

    async def test_equal_bytes_stand_once_and_leave_with_their_last_file(
        self, store: Store
    ) -> None:
        owner, other = [(await a_customer(store))[0] for _ in range(2)]
        async with store.begin() as tx:
            first = await a_stored_file(tx, owner.id)
            second = await a_stored_file(tx, other.id)
        assert first.blob_id == second.blob_id and first.id != second.id
        twice = await swept(store)

        async with store.begin() as tx:
            await tx.files.remove(owner.id, first.id)
        still_twice = await swept(store)
        async with store.begin() as tx:
            assert await tx.files.get(other.id, second.id, START) == second
            await tx.files.remove(other.id, second.id)
        gone = await swept(store)

        assert len(twice) == 1 and twice == still_twice, "only what came a second time leaves"
        assert set(gone) == {*twice, first.blob_id}
        async with store.begin() as tx:
            await tx.files.forget(gone)
            assert await tx.files.leaving(10) == [] and await tx.files.blob(first.blob_id) is None

    async def test_what_is_about_to_leave_is_not_joined(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            first = await a_stored_file(tx, owner.id)
            await tx.files.remove(owner.id, first.id)
        await swept(store)

        async with store.begin() as tx:
            again = await a_stored_file(tx, owner.id)

        assert again.blob_id != first.blob_id

    async def test_files_together_are_bounded(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            file = await a_stored_file(tx, owner.id, b"12345")
            blob = await tx.files.blob(file.blob_id)
            assert blob is not None
        async with store.begin() as tx:
            with pytest.raises(StorageExceeded):
                await tx.files.add(a_file(blob, owner.id), bytes_max=9)
        async with store.begin() as tx:
            await tx.files.add(a_file(blob, owner.id), bytes_max=10)

    async def test_uploads_at_once_are_bounded_and_old_ones_are_swept(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            begun = [a_blob(owner.id) for _ in range(UPLOADS_AT_ONCE_MAX)]
            for blob in begun:
                await tx.files.begin(blob)
        async with store.begin() as tx:
            with pytest.raises(StorageExceeded):
                await tx.files.begin(a_blob(owner.id))

        early = await swept(store, START + timedelta(hours=5))
        late = await swept(store, START + timedelta(hours=7))

        assert early == [] and set(late) == {blob.id for blob in begun}
        async with store.begin() as tx:
            await tx.files.begin(a_blob(owner.id))
        async with store.begin() as tx:
            with pytest.raises(Conflict):
                await tx.files.settle(begun[0].grown(b"x").stored("b" * 64))

    async def test_given_up_is_given_up(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        blob = a_blob(owner.id)
        async with store.begin() as tx:
            await tx.files.begin(blob)
            await tx.files.give_up(blob.id)
            file = await a_stored_file(tx, owner.id)
            await tx.files.give_up(file.blob_id)

            assert await tx.files.leaving(10) == [blob.id]
        async with store.begin() as tx:
            with pytest.raises(Conflict):
                await tx.files.grow(blob.grown(b"x"))

    async def test_a_file_expires(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            file = await a_stored_file(tx, owner.id)

            assert await tx.files.get(owner.id, file.id, START + DAY) is None
            assert await tx.files.of_user(owner.id, START + DAY, limit=10) == []
        assert await swept(store, START + DAY) == [file.blob_id]

    async def test_files_are_listed_page_by_page_and_by_purpose(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        made = []
        async with store.begin() as tx:
            for number in range(5):
                at = START + timedelta(seconds=number)
                purpose = "vision" if number % 2 else "user_data"
                data = str(number).encode()
                made.append(await a_stored_file(tx, owner.id, data, created_at=at, purpose=purpose))

            async def page(**wanted: Any) -> list[int]:
                found = await tx.files.of_user(owner.id, START, **wanted)
                return [made.index(file) for file in found]

            assert await page(limit=2) == [4, 3]
            assert await page(limit=2, after=made[3].id) == [2, 1]
            assert await page(limit=9, after=made[1].id, oldest_first=True) == [2, 3, 4]
            assert await page(limit=9, purpose="vision") == [3, 1]
            assert await page(limit=9, after=FileId("file_" + "0" * 32)) == []

    async def test_what_a_job_made_is_seen_once_it_has_succeeded(self, store: Store) -> None:
        scene = await Scene.of(store)
        user, now = scene.user.id, START
        good, bad = [await scene.job(status=JobStatus.RUNNING, epoch=Epoch(2)) for _ in range(2)]
        async with store.begin() as tx:
            made = {
                (job.id, epoch): await a_stored_file(
                    tx, user, f"{job.id} {epoch}".encode(), job_id=job.id, epoch=Epoch(epoch)
                )
                for job in (good, bad)
                for epoch in (1, 2)
            }
            early = await tx.files.of_user(user, now, limit=10)
            done = good.succeed(
                Epoch(2), now, texts=["x"], finish_reason="stop", prompt_tokens=0, charged=ZERO
            )
            await tx.jobs.save(done, was=good)
            await tx.jobs.save(bad.fail(now, Cause.DEADLINE, "late"), was=bad)
            late = await tx.files.of_user(user, now, limit=10)
        assert early == [] and late == [made[(good.id, 2)]]

        await swept(store)

        async with store.begin() as tx:
            left = [*await tx.files.of_job(good.id), *await tx.files.of_job(bad.id)]
        assert left == [made[(good.id, 2)]]

    async def test_a_job_keeps_what_it_reads_until_it_has_ended(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job(status=JobStatus.RUNNING, epoch=Epoch(1))
        async with store.begin() as tx:
            file = await a_stored_file(tx, scene.user.id)
            pinned = input_of(job.id, file)
            await tx.files.pin([pinned])
            await tx.files.pin([pinned])
            await tx.files.remove(scene.user.id, file.id)
        kept = await swept(store)
        async with store.begin() as tx:
            assert await tx.files.inputs(job.id) == [pinned]
            await tx.jobs.save(job.fail(START, Cause.DEADLINE, "late"), was=job)
        left = await swept(store)

        assert kept == [] and left == [file.blob_id]

    async def test_an_attempt_writes_each_name_once_and_is_counted(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job(status=JobStatus.RUNNING, epoch=Epoch(1))
        blob = a_blob(scene.user.id, job_id=job.id, epoch=Epoch(1), name="out.mp4")
        async with store.begin() as tx:
            await tx.files.begin(blob)
            grown = blob.grown(b"12345")
            await tx.files.grow(grown)
            await a_stored_file(
                tx, scene.user.id, b"123", job_id=job.id, epoch=Epoch(1), name="a.png"
            )

            assert await tx.files.lock_written(job.id, Epoch(1), "out.mp4") == grown
            assert await tx.files.lock_written(job.id, Epoch(2), "out.mp4") is None
            assert await tx.files.written(job.id, Epoch(1)) == (2, 8)
            assert await tx.files.written(job.id, Epoch(2)) == (0, 0)
        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.files.begin(replace(blob, id=BlobId(an_id("blob"))))

    async def test_a_file_of_nobody_is_refused(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            file = await a_stored_file(tx, owner.id)
        stranger = replace(file, id=FileId("file_" + "1" * 32), owner_id=a_user().id)
        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.files.add(stranger, bytes_max=PLENTY)


class CheckBlobs:
    """Over a fixture `blobs`."""

    async def test_pieces_come_back_as_they_were_put(self, blobs: Blobs) -> None:
        one, other = BlobId(an_id("blob")), BlobId(an_id("blob"))
        pieces = {0: secrets.token_bytes(PIECE_BYTES), 1: b"\0\r\n", 1023: b"last"}
        for number, data in pieces.items():
            await blobs.put(one, number, data)
        await blobs.put(other, 0, b"another")

        assert {number: await blobs.get(one, number) for number in pieces} == pieces
        assert await blobs.get(one, 2) is None and await blobs.get(other, 1) is None

    async def test_the_same_piece_again_takes_its_place(self, blobs: Blobs) -> None:
        blob = BlobId(an_id("blob"))
        for data in (b"first", b"second", b"second"):
            await blobs.put(blob, 0, data)

        assert await blobs.get(blob, 0) == b"second"

    async def test_what_is_deleted_is_gone_and_nothing_else(self, blobs: Blobs) -> None:
        one, other = BlobId(an_id("blob")), BlobId(an_id("blob"))
        for number in range(12):
            await blobs.put(one, number, b"x")
        await blobs.put(other, 0, b"stays")

        await blobs.delete(one)
        await blobs.delete(one)

        assert [await blobs.get(one, number) for number in range(12)] == [None] * 12
        assert await blobs.get(other, 0) == b"stays"
