"""Files between an Island and the Coordinators over a real broker: what each side ships, and what a stranger gets."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest
from archipelag_contracts import subjects
from archipelag_contracts.ids import Epoch, IslandId
from archipelag_contracts.pb.archipelag.v1 import files_pb2 as pb
from archipelag_coordinator.adapters.nats.blobs import NatsBlobs, make_blob_stream
from archipelag_coordinator.adapters.nats.island_bus import NatsIslandBus
from archipelag_coordinator.apps.islands.files import BUSY, IslandFiles
from archipelag_coordinator.domain.file import File
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.services.files import files_of_job, read_whole
from archipelag_coordinator.services.track import track
from archipelag_coordinator.services.upload import upload
from archipelag_coordinator.testing.worlds import Scene, a_scene
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters.files import CoordinatorFiles
from archipelag_island.domain.attempt import AttemptKey, FileRef
from archipelag_island.domain.backoff import Backoff
from archipelag_island.runtime import FilePart
from archipelag_island.testing.builders import an_assignment

from .conftest import Fabric, HostClient

SCHEMA = {"type": "object", "properties": {"file": {"type": "string", "format": "file"}}}
INPUT = Random(1).randbytes(1_300_000)
OUTPUT = Random(2).randbytes(1_200_000)


@dataclass
class Work:
    scene: Scene
    job: Job
    file: File
    island: IslandId
    host: HostClient

    async def ask(self, payload: bytes, host: HostClient | None = None) -> bytes:
        asker = host or self.host
        return (await asker.nc.request(subjects.files(asker.id), payload, timeout=PATIENCE_S)).data


@pytest.fixture
async def work(fabric: Fabric) -> AsyncIterator[Work]:
    await make_blob_stream(fabric.connection)
    scene = await a_scene(kind="json", slug="transcode", input=SCHEMA)
    scene.world = replace(scene.world, blobs=NatsBlobs(fabric.connection))
    island = await scene.island()

    async def parts() -> AsyncIterator[bytes]:
        yield INPUT

    sent = await upload(scene.world, scene.user.id, parts())
    file = await sent.finish(name="in.mp4", purpose="user_data", kept_s=3600)
    job = await scene.running(input={"file": file.id}, interactive=False)
    bus = NatsIslandBus(fabric.connection, fabric.keys.assignment)
    await bus.listen_files(IslandFiles(scene.world).take, BUSY)
    host = await fabric.host(island.id).connect()
    yield Work(scene, job, file, island.id, host)
    await bus.close()


async def test_a_job_s_files_go_to_the_island_and_its_own_come_back(
    work: Work, tmp_path: Path
) -> None:
    files = CoordinatorFiles(
        work.ask,
        tmp_path / "inputs",
        over=lambda _: None,
        backoff=lambda: Backoff(0.01, 0.1, Random(1)),
        free_bytes=lambda _: 1 << 40,
    )
    key = AttemptKey(work.job.id, Epoch(work.job.epoch))
    ref = FileRef(work.file.id, bytes.fromhex(work.file.sha256), work.file.size_bytes)

    size = 256 << 10
    async with files.inputs(an_assignment(key=key, files=(ref,))) as (found,):
        read = found.path.read_bytes()
        for at in range(0, len(OUTPUT), size):
            part = OUTPUT[at : at + size]
            await files.send(key, at, FilePart("out.bin", "", part, at + size >= len(OUTPUT)))
    await track(work.scene.world, work.scene.report(work.job, "{}"))

    assert read == INPUT
    (made,) = await files_of_job(work.scene.world, work.scene.user.id, work.job.id)
    assert made.sha256 == hashlib.sha256(OUTPUT).hexdigest()
    assert await read_whole(work.scene.world, made, bytes_max=1 << 30) == OUTPUT


async def test_another_island_gets_nothing_by_the_same_words(work: Work, fabric: Fabric) -> None:
    stranger = await fabric.host().connect()
    read = pb.FileRead(file_id=work.file.id, offset=0, length=100)
    asked = pb.FileRequest(job_id=work.job.id, epoch=work.job.epoch, read=read).SerializeToString()

    own = pb.FileReply.FromString(await work.ask(asked))
    others = pb.FileReply.FromString(await work.ask(asked, stranger))

    assert own.data == INPUT[:100]
    assert others.refused == pb.FileReply.REFUSED_STALE and not others.data
    assert await stranger.refused(publish=subjects.files(work.island))


async def test_an_answer_goes_to_nobody_elses_inbox(work: Work, fabric: Fabric) -> None:
    victim = await fabric.host().connect()
    heard: list[bytes] = []

    async def hear(message: object) -> None:
        heard.append(b"")

    inbox = f"{subjects.inbox_prefix(victim.id)}.x"
    await victim.nc.subscribe(inbox, cb=hear)
    await victim.settle()
    await work.host.nc.publish(subjects.files(work.island), b"x", reply=inbox)
    await work.host.settle()
    reply = pb.FileReply.FromString(await work.ask(b""))

    assert reply.refused == pb.FileReply.REFUSED_UNKNOWN
    assert heard == []


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff" * 40,
        pb.FileRequest(job_id="job", epoch=1, read=pb.FileRead()).SerializeToString(),
        pb.FileRequest(job_id="job_" + "0" * 26, epoch=2**32 - 1).SerializeToString(),
        pb.FileRequest(job_id="job_" + "0" * 26, epoch=1).SerializeToString(),
        pb.FileRequest(
            job_id="job_" + "0" * 26,
            epoch=1,
            read=pb.FileRead(file_id="file_" + "0" * 32, offset=2**64 - 1, length=1),
        ).SerializeToString(),
    ],
    ids=["empty", "noise", "no id", "an epoch too far", "no question", "a place too far"],
)
async def test_nonsense_is_refused_in_words(work: Work, payload: bytes) -> None:
    reply = pb.FileReply.FromString(await work.ask(payload))

    assert reply.refused == pb.FileReply.REFUSED_UNKNOWN and reply.reason


async def test_an_island_that_asks_too_much_at_once_is_told_to_ask_again(
    work: Work, fabric: Fabric
) -> None:
    gate = asyncio.Event()

    async def slow(island: IslandId, data: bytes) -> bytes:
        await gate.wait()
        return b"answered"

    bus = NatsIslandBus(fabric.connection, fabric.keys.assignment)
    other = await fabric.host().connect()
    await bus.listen_files(slow, BUSY)

    def ask(host: HostClient) -> asyncio.Task[bytes]:
        return asyncio.ensure_future(work.ask(b"", host))

    # Of the two listeners the broker takes either: what this one takes beyond its bound is answered at once.
    flood = [ask(work.host) for _ in range(200)]
    first = asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
    told = {task.result() for task in (await asyncio.wait_for(first, PATIENCE_S))[0]}
    gate.set()
    calm = await asyncio.wait_for(ask(other), PATIENCE_S)
    await asyncio.gather(*flood)
    await bus.close()

    assert BUSY in told
    assert calm != BUSY
