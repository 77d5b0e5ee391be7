"""Files and models beside chat on a whole network: OpenAI's own client, real stores, an Island of a test's making."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from archipelag import AsyncClient
from archipelag_contracts import subjects
from archipelag_contracts.pb.archipelag.v1 import files_pb2
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as pb
from archipelag_embedded.fixtures import PATIENCE_S

from .conftest import Network, assignment_key, wait_for
from .raw_island import RawIsland, until

PNG = b"\x89PNG\r\n\x1a\n" + bytes(2000)
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(2000)
PIECE = 512 << 10
DATA = random.Random(4).randbytes(3 * PIECE + 1000)
KINDS = {
    "embeddings": "",
    "image": "",
    "transcription": '[input]\ntype = "object"\n[input.properties.file]\ntype = "string"\n'
    'format = "file"\n',
    "speech": "",
}
MANIFEST = """
slug = "door-{kind}"
version = "1.0.0"
name = "Door"
description = "Runs nowhere but on the Island of a test."
license = "Apache-2.0"
kind = "{kind}"
runtime = "native"
engine = "door"

[model]
name = "model-of-{kind}"
file = "none.bin"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"

[limits]
seconds = 60
output_items_max = 64
output_bytes_max = 1048576
progress_s = 30

[price]
job_ucredits = 1000
{input}
"""


@pytest.fixture(scope="session")
def doors(network: Network) -> dict[str, str]:
    """Cargos of each kind that only a test's Island offers: slug → digest."""
    for kind, schema in KINDS.items():
        manifest = network.home / f"door-{kind}.toml"
        manifest.write_text(MANIFEST.format(kind=kind, input=schema))
        network.coordinator("cargo", "publish", str(manifest))

    def listed() -> dict[str, str]:
        with network.http() as http:
            found = {c["slug"]: c["digest"] for c in http.get("/workloads").json()["data"]}
        wanted = {f"door-{kind}" for kind in KINDS}
        return {slug: found[slug] for slug in wanted} if wanted <= found.keys() else {}

    found: dict[str, str] = wait_for(listed, "the doors are listed")
    return found


class Doer:
    """The Island's side: takes a job, and does with files as an Island does."""

    def __init__(self, island: RawIsland) -> None:
        self.island = island

    async def job(self) -> pb.Assignment:
        return await asyncio.wait_for(self.island.assignments.get(), PATIENCE_S)

    async def ask(self, job: pb.Assignment, **asked: Any) -> files_pb2.FileReply:
        request = files_pb2.FileRequest(job_id=job.job_id, epoch=job.epoch, **asked)
        subject = subjects.files(self.island.id)
        answer = await self.island.nc.request(
            subject, request.SerializeToString(), timeout=PATIENCE_S
        )
        return files_pb2.FileReply.FromString(answer.data)

    async def read(self, job: pb.Assignment) -> bytes:
        (file,) = job.files
        parts = []
        for at in range(0, file.size_bytes, PIECE):
            read = files_pb2.FileRead(file_id=file.file_id, offset=at, length=PIECE)
            parts.append((await self.ask(job, read=read)).data)
        return b"".join(parts)

    async def write(self, job: pb.Assignment, name: str, data: bytes) -> files_pb2.FileReply:
        for at in range(0, len(data), PIECE):
            last = at + PIECE >= len(data)
            write = files_pb2.FileWrite(
                name=name,
                offset=at,
                data=data[at : at + PIECE],
                last=last,
                sha256=hashlib.sha256(data).digest() if last else b"",
            )
            reply = await self.ask(job, write=write)
            assert not reply.refused, reply
        return reply

    async def answer(self, job: pb.Assignment, value: Any) -> None:
        await self.island.report(self.island.report_on(job, [json.dumps(value)]))


@pytest.fixture
async def doer(network: Network, hostile: RawIsland, doors: dict[str, str]) -> Doer:
    slug, digest = next(iter(doors.items()))
    await hostile.offer(assignment_key(network), slug, digest)
    hostile._offers = list(doors.items())
    await until(lambda: _offered(network) >= doors.keys(), "the doors are warm")
    return Doer(hostile)


def _offered(network: Network) -> set[str]:
    with network.http() as http:
        hosts = http.get("/hosts").json()["data"]
    return {c["slug"] for host in hosts for c in host["cargos"] if c["state"] == "warm"}


def customer(network: Network) -> openai.AsyncOpenAI:
    key = network.user(f"doors-{random.randrange(10**9)}@example.org", "10")
    return openai.AsyncOpenAI(base_url=network.openai_url, api_key=key, max_retries=0)


async def answered(doer: Doer, asking: Awaitable[Any], value: Any) -> Any:
    task = asyncio.ensure_future(asking)
    await doer.answer(await doer.job(), value)
    return await asyncio.wait_for(task, PATIENCE_S)


async def test_texts_are_embedded(network: Network, doer: Doer) -> None:
    async with customer(network) as client:
        asking = client.embeddings.create(model="model-of-embeddings", input=["cat", "dog"])
        answer = await answered(doer, asking, {"embeddings": [[0.5, 1], [2, 3]], "tokens": 2})

    assert [one.embedding for one in answer.data] == [[0.5, 1], [2, 3]]


async def test_a_picture_is_drawn_and_linked(network: Network, doer: Doer) -> None:
    value = {"image_data": base64.b64encode(PNG).decode(), "width": 8, "height": 8, "seed": 1}
    async with customer(network) as client:
        asking = client.images.generate(model="door-image", prompt="x", response_format="url")
        answer = await answered(doer, asking, value)
    async with httpx.AsyncClient() as anybody:
        picture = await anybody.get(answer.data[0].url)

    assert picture.content == PNG and picture.headers["content-type"] == "image/png"


async def test_a_recording_is_written_down(network: Network, doer: Doer) -> None:
    spoken = {"text": "Hello.", "language": "en", "duration_s": 1.0, "segments": []}
    async with customer(network) as client:
        asking = asyncio.ensure_future(
            client.audio.transcriptions.create(model="door-transcription", file=("a.wav", WAV))
        )
        job = await doer.job()
        heard = await doer.read(job)
        await doer.answer(job, spoken)
        answer = await asyncio.wait_for(asking, PATIENCE_S)
        left = await client.files.list()

    assert (heard, answer.text, left.data) == (WAV, "Hello.", [])


async def test_a_text_is_spoken(network: Network, doer: Doer) -> None:
    async with customer(network) as client:
        asking = asyncio.ensure_future(
            client.audio.speech.create(model="door-speech", input="Hello", voice="any")
        )
        job = await doer.job()
        reply = await doer.write(job, "speech.wav", WAV)
        await doer.answer(job, {"file": {"file": "speech.wav"}})
        answer = await asyncio.wait_for(asking, PATIENCE_S)
        kept = await client.files.retrieve(reply.file.file_id)

    assert answer.content == WAV and kept.filename == "speech.wav"


async def test_a_large_file_goes_there_and_back(
    network: Network, doer: Doer, tmp_path: Path
) -> None:
    client = customer(network)
    async with client, AsyncClient(network.api_url, client.api_key) as ours:
        sent = await client.files.create(file=("in.bin", DATA), purpose="user_data")
        again = await client.files.content(sent.id)
        asked = await ours.create_job("door-transcription", {"file": sent.id})
        job = await doer.job()
        read = await doer.read(job)
        await doer.write(job, "out.bin", read[::-1])
        early = await ours.list_job_files(asked.id)
        await doer.answer(job, {})
        await ours.wait_for_job(asked.id, timeout_s=15)
        (made,) = await ours.list_job_files(asked.id)
        await ours.download_file(made.id, tmp_path / "out.bin")
        await client.files.delete(sent.id)
        with pytest.raises(openai.NotFoundError):
            await client.files.content(sent.id)

    assert (again.content, read, early) == (DATA, DATA, ())
    assert (tmp_path / "out.bin").read_bytes() == DATA[::-1]


async def test_an_island_reads_and_writes_nothing_once_the_job_is_over(
    network: Network, doer: Doer
) -> None:
    async with customer(network) as client:
        sent = await client.files.create(file=("in.bin", b"private"), purpose="user_data")
        async with AsyncClient(network.api_url, client.api_key) as ours:
            asked = await ours.create_job("door-transcription", {"file": sent.id})
            job = await doer.job()
            await doer.answer(job, {})
            await ours.wait_for_job(asked.id, timeout_s=15)
        read = files_pb2.FileRead(file_id=sent.id, offset=0, length=100)
        sums = hashlib.sha256(b"late").digest()
        write = files_pb2.FileWrite(name="late", data=b"late", last=True, sha256=sums)
        replies = [await doer.ask(job, read=read), await doer.ask(job, write=write)]

    assert [one.refused for one in replies] == [files_pb2.FileReply.REFUSED_STALE] * 2
    assert not any(one.data for one in replies)


def test_models_of_every_kind_are_listed(network: Network, doors: dict[str, str]) -> None:
    with openai.OpenAI(base_url=network.openai_url, api_key=network.api_key) as client:
        listed = {model.id for model in client.models.list()}

    assert {f"model-of-{kind}" for kind in KINDS} <= listed
