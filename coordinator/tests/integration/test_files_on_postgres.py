"""Many customers with the same bytes, sweeps in between: nobody's file loses its content, and nothing stays behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.files import (
    delete_file,
    find_file,
    read_whole,
    sweep_files,
)
from archipelag_coordinator.services.upload import begin_upload
from archipelag_coordinator.services.world import World
from archipelag_coordinator.testing.builders import a_customer
from archipelag_coordinator.testing.memory_files import MemoryBlobs
from archipelag_coordinator.testing.worlds import a_scene

CONTENTS = (b"one", b"two", b"three")
ROUNDS = 25


async def come_and_go(world: World, owner: User, seed: int) -> int:
    """Uploads, reads and deletes; returns how many files were read."""
    chance, read = Random(seed), 0
    kept = []
    for _ in range(ROUNDS):
        data = chance.choice(CONTENTS)
        upload = await begin_upload(world, owner.id)
        await upload.write(data)
        if chance.random() < 0.1:
            await upload.give_up()
            continue
        file = await upload.finish(name="x", purpose="user_data", kept_s=3600)
        kept.append((file.id, data))
        name, expected = chance.choice(kept)
        found = await find_file(world, owner.id, name)
        assert await read_whole(world, found, bytes_max=99) == expected
        read += 1
        if chance.random() < 0.6:
            kept.remove((name, expected))
            await delete_file(world, owner.id, name)
    for name, expected in kept:
        found = await find_file(world, owner.id, name)
        assert await read_whole(world, found, bytes_max=99) == expected
        await delete_file(world, owner.id, name)
    return read


async def test_equal_bytes_that_come_and_go_at_once_are_never_lost(store: PostgresStore) -> None:
    scene = await a_scene(store=store)  # type: ignore[arg-type]
    blobs = MemoryBlobs()
    world = replace(scene.world, blobs=blobs)
    owners = [(await a_customer(store))[0] for _ in range(4)]
    done = asyncio.Event()

    async def sweep() -> int:
        gone = 0
        while not done.is_set():
            gone += (await sweep_files(world, 1000))[1]
            await asyncio.sleep(0)
        return gone

    async with asyncio.TaskGroup() as group:
        sweeping = group.create_task(sweep())
        working = [
            group.create_task(come_and_go(world, owner, seed)) for seed, owner in enumerate(owners)
        ]
        read = [await task for task in working]
        done.set()
    while sum(await sweep_files(world, 1000)):
        pass

    assert sum(read) > len(owners) * ROUNDS // 2 and sweeping.result() > 0
    assert blobs.pieces == {}


async def test_a_file_that_is_swept_while_it_is_asked_for_is_not_found(
    store: PostgresStore,
) -> None:
    scene = await a_scene(store=store)  # type: ignore[arg-type]
    world = replace(scene.world, blobs=MemoryBlobs())
    upload = await begin_upload(world, scene.user.id)
    await upload.write(b"x")
    file = await upload.finish(name="x", purpose="user_data", kept_s=10)
    scene.clock.advance(10)
    await sweep_files(world, 10)

    async with store.begin() as tx:
        assert await tx.files.blob(file.blob_id) is None
    with pytest.raises(NotFound):
        await find_file(world, scene.user.id, file.id)
