"""Models beside chat, asked by OpenAI's own client as it is sold."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import Awaitable
from typing import Any

import httpx
import openai
import pytest
from archipelag_contracts.ids import Epoch
from archipelag_contracts.manifest import Model
from archipelag_coordinator.apps.api.subtitles import Segment, as_srt, as_vtt
from archipelag_coordinator.apps.loops import table
from archipelag_coordinator.domain.answer import Progress
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.file import PIECE_BYTES
from archipelag_coordinator.services.serve_files import (
    Holder,
    Piece,
    read_input,
    write_output,
)

from .conftest import Api, an_api, events

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(40)
FILE_SCHEMA = {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "file"}},
}
VOICES = {"type": "object", "properties": {"voice": {"type": "string", "enum": ["ann", "bob"]}}}
SPOKEN = {
    "text": "Hello there.",
    "language": "en",
    "duration_s": 2.5,
    "segments": [
        {"start": 0, "end": 1.25, "text": " Hello"},
        {"start": 1.25, "end": 2.5, "text": " there.\n\n"},
    ],
}


async def of_kind(kind: str, **cargo: Any) -> Api:
    model = Model(f"{kind}-model", "model.bin", "0" * 64)
    api = await an_api(kind=kind, slug=kind, model=model, resumable=False, **cargo)
    await api.scene.island(name="reef")
    return api


def client(api: Api) -> openai.AsyncOpenAI:
    http = httpx.AsyncClient(transport=httpx.ASGITransport(api.app))
    return openai.AsyncOpenAI(
        base_url="http://archipelag.test/v1", api_key=api.secret, http_client=http, max_retries=0
    )


async def answered(api: Api, asking: Awaitable[Any], value: Any) -> Any:
    """The Cargo answers this, in two pieces."""
    task = asyncio.ensure_future(asking)
    text = value if isinstance(value, str) else json.dumps(value)
    await api.answer(text[:7], text[7:], streamed=False)
    return await task


def given(api: Api) -> dict[str, Any]:
    """What the newest job gave to the Cargo."""
    return dict(json.loads(api.scene.bus.assigned[-1].input))


async def test_texts_are_embedded() -> None:
    api = await of_kind("embeddings")
    vectors = [[0.5, -1.0, 0.25], [1.0, 0.0, 0.125]]
    asking = client(api).embeddings.create(model="embeddings-model", input=["cat", "dog"])

    answer = await answered(api, asking, {"embeddings": vectors, "tokens": 4})

    assert [one.embedding for one in answer.data] == vectors
    assert (answer.usage.prompt_tokens, answer.model) == (4, "embeddings-model")
    assert given(api) == {"texts": ["cat", "dog"]}


async def test_vectors_are_packed_as_openai_packs_them() -> None:
    api = await of_kind("embeddings")
    body = {"model": "embeddings", "input": "cat", "encoding_format": "base64"}
    async with api.client() as http:
        asking = http.post("/embeddings", json=body)
        answer = await answered(api, asking, {"embeddings": [[0.1, 3]], "tokens": 1})

    (one,) = answer.json()["data"]
    assert base64.b64decode(one["embedding"]) == struct.pack("<2f", 0.1, 3)


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({"input": [1, 2, 3]}, 400, "tokens"),
        ({"input": [[1, 2]]}, 400, "tokens"),
        ({"input": []}, 422, "input"),
        ({"input": ["a", ""]}, 422, "input"),
        ({"input": ["a"] * 2049}, 422, "2048"),
        ({"dimensions": 3}, 400, "dimensions"),
        ({"encoding_format": "hex"}, 422, "base64"),
        ({"surprise": 1}, 422, "surprise"),
        ({"model": "none"}, 404, "none"),
        ({"model": None}, 422, "model"),
    ],
)
async def test_what_cannot_be_embedded_is_told(
    changes: dict[str, Any], status: int, told: str
) -> None:
    api = await of_kind("embeddings")
    async with api.client() as http:
        body = {"model": "embeddings", "input": "x"} | changes
        answer = await http.post("/embeddings", json=body)

    assert answer.status_code == status and told in answer.text
    assert api.scene.bus.assigned == []


@pytest.mark.parametrize(
    "value",
    [
        "not JSON",
        "[]",
        '{"embeddings": [[NaN]]}',
        {"embeddings": []},
        {"embeddings": [[1], [2]]},
        {"embeddings": [["a"]]},
        {"embeddings": [[]]},
        {"embeddings": [1]},
        {"embeddings": [[1e300]]},
        "[" * 10_000,
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_cargo_that_answers_nonsense_is_a_502(value: Any) -> None:
    api = await of_kind("embeddings")
    async with api.client() as http:
        asking = http.post("/embeddings", json={"model": "embeddings", "input": "x"})
        answer = await answered(api, asking, value)

    assert answer.status_code == 502, answer.text
    assert answer.json()["error"]["code"] == "bad_result"


async def test_a_failed_job_is_told_with_its_own_status_and_costs_nothing() -> None:
    api = await of_kind("embeddings")
    before = await api.scene.balance()
    async with api.client() as http:
        body = {"model": "embeddings", "input": "x"}
        asking = asyncio.create_task(http.post("/embeddings", json=body))
        await api.fail(Cause.BAD_INPUT, "too long")
        answer = await asking

    assert (answer.status_code, answer.json()["error"]["message"]) == (422, "too long")
    assert await api.scene.balance() == before


async def test_a_picture_is_drawn() -> None:
    api = await of_kind("image")
    asking = client(api).images.generate(
        model="image-model",
        prompt="a red circle",
        size="64x32",  # type: ignore[arg-type]
        extra_body={"seed": 7, "steps": 4, "negative_prompt": "blue", "guidance_scale": 2.5},
    )

    value = {"image_data": base64.b64encode(PNG).decode(), "width": 64, "height": 32, "seed": 7}
    answer = await answered(api, asking, value)

    assert base64.b64decode(answer.data[0].b64_json) == PNG
    assert answer.size == "64x32" and answer.data[0].seed == 7
    assert given(api) == {
        "prompt": "a red circle",
        "width": 64,
        "height": 32,
        "seed": 7,
        "steps": 4,
        "negative_prompt": "blue",
        "guidance_scale": 2.5,
    }


async def test_a_picture_may_be_a_link_that_needs_no_key() -> None:
    api = await of_kind("image")
    value = {"image_data": base64.b64encode(PNG).decode()}
    asking = client(api).images.generate(
        model="image", prompt="a circle", response_format="url", user="me"
    )
    answer = await answered(api, asking, value)
    url = answer.data[0].url
    async with api.client("") as http:
        good = await http.get(url)
        api.scene.clock.advance(3600)
        late = await http.get(url)
        forged = await http.get(url[:-1] + ("0" if url[-1] != "0" else "1"))

    assert (good.status_code, good.content) == (200, PNG)
    assert good.headers["content-type"] == "image/png"
    assert (late.status_code, forged.status_code) == (404, 404)
    async with api.client() as http:
        (file,) = (await http.get("/files")).json()["data"]
        made = (await http.get(f"/jobs/{file['job_id']}/files")).json()["data"]
    assert made == [file] and file["purpose"] == "job_output"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"n": 2}, 400),
        ({"size": "huge"}, 422),
        ({"prompt": ""}, 422),
        ({"prompt": "x" * 4001}, 422),
        ({"steps": True}, 422),
        ({"seed": "7"}, 422),
        ({"quality": "hd"}, 400),
        ({"quality": "auto"}, 503),
        ({"response_format": "png"}, 422),
        ({"output_format": "webp"}, 400),
        ({"partial_images": 4}, 422),
    ],
    ids=str,
)
async def test_what_cannot_be_drawn_is_told(changes: dict[str, Any], status: int) -> None:
    api = await of_kind("image")
    api.scene.bus.refuse(api.scene.world.fleet.islands()[0].id)
    async with api.client() as http:
        body = {"model": "image", "prompt": "x"} | changes
        asking = asyncio.create_task(http.post("/images/generations", json=body))
        await asyncio.sleep(0.05)
        api.scene.clock.advance(60)
        await table.end_overdue(api.scene.world)
        answer = await asking

    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    "data", ["", "!", base64.b64encode(b"<html>").decode(), None, 7], ids=["a", "b", "c", "d", "e"]
)
async def test_what_is_no_picture_is_not_given_out_as_one(data: Any) -> None:
    api = await of_kind("image")
    async with api.client() as http:
        asking = http.post("/images/generations", json={"model": "image", "prompt": "x"})
        answer = await answered(api, asking, {"image_data": data})

    assert answer.status_code == 502


async def heard(api: Api, holder: Holder) -> bytes:
    file = api.scene.bus.assigned[-1].files[0].file_id
    return await read_input(api.scene.world, holder, file, 0, PIECE_BYTES)


async def holder_of(api: Api) -> Holder:
    job = await api.assigned()
    return Holder(api.scene.bus.assigned[-1].island_id, job.id, Epoch(job.epoch))


async def test_a_recording_is_written_down_and_not_kept() -> None:
    api = await of_kind("transcription", input=FILE_SCHEMA)
    asking = asyncio.ensure_future(
        client(api).audio.transcriptions.create(
            model="transcription-model",
            file=("a.wav", WAV),
            language="en",
            temperature=0.5,
            response_format="verbose_json",
            timestamp_granularities=["segment"],
        )
    )
    recording = await heard(api, await holder_of(api))
    answer = await answered(api, asking, SPOKEN)

    assert recording == WAV
    assert answer.text == "Hello there." and answer.duration == 2.5
    assert [(one.start, one.end) for one in answer.segments] == [(0, 1.25), (1.25, 2.5)]
    file = api.scene.bus.assigned[-1].files[0].file_id
    assert given(api) == {"file": file, "language": "en", "temperature": 0.5, "timestamps": True}
    async with api.client() as http:
        assert (await http.get("/files")).json()["data"] == []


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("text", "Hello there.\n"),
        (
            "srt",
            "1\n00:00:00,000 --> 00:00:01,250\nHello\n\n"
            "2\n00:00:01,250 --> 00:00:02,500\nthere.\n\n",
        ),
        (
            "vtt",
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.250\nHello\n\n"
            "00:00:01.250 --> 00:00:02.500\nthere.\n\n",
        ),
    ],
)
async def test_a_recording_is_written_down_as_asked(how: Any, told: str) -> None:
    api = await of_kind("transcription", input=FILE_SCHEMA)
    asking = client(api).audio.transcriptions.create(
        model="transcription", file=("a.wav", WAV), response_format=how
    )

    assert await answered(api, asking, SPOKEN) == told


async def test_a_recording_sent_again_is_the_same_request() -> None:
    api = await of_kind("transcription", input=FILE_SCHEMA)
    sent = {"files": {"file": ("a.wav", WAV)}, "data": {"model": "transcription"}}
    headers = {"Idempotency-Key": "once"}
    async with api.client() as http:
        asking = http.post("/audio/transcriptions", headers=headers, **sent)
        first = await answered(api, asking, SPOKEN)
        again = await http.post("/audio/transcriptions", headers=headers, **sent)
        sent["files"] = {"file": ("a.wav", WAV + b"x")}
        other = await http.post("/audio/transcriptions", headers=headers, **sent)

    assert first.json() == again.json() and len(api.scene.bus.assigned) == 1
    assert other.status_code == 409


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model": "none"}, 404),
        ({}, 422),
        ({"model": "transcription", "response_format": "pdf"}, 422),
        ({"model": "transcription", "stream": "true"}, 400),
        ({"model": "transcription", "timestamp_granularities[]": "word"}, 400),
        ({"model": "transcription", "temperature": "hot"}, 422),
        ({"model": "transcription", "surprise": "x"}, 422),
    ],
    ids=str,
)
async def test_what_cannot_be_written_down_is_told(fields: dict[str, str], status: int) -> None:
    api = await of_kind("transcription", input=FILE_SCHEMA)
    async with api.client() as http:
        answer = await http.post(
            "/audio/transcriptions", files={"file": ("a.wav", WAV)}, data=fields
        )

    assert answer.status_code == status, answer.text
    async with api.scene.store.begin() as tx:
        assert len(await tx.files.leaving(9)) == 1, "what was sent is swept"


async def test_a_text_is_spoken() -> None:
    api = await of_kind("speech", input=VOICES)
    asking = asyncio.ensure_future(
        client(api).audio.speech.create(
            model="speech-model", input="Hello", voice="bob", speed=1.5, response_format="wav"
        )
    )
    holder = await holder_of(api)
    piece = Piece("speech.wav", "audio/wav", 0, WAV, True, hashlib.sha256(WAV).hexdigest())
    await write_output(api.scene.world, holder, piece)
    answer = await answered(api, asking, {"file": {"file": "speech.wav", "bytes": len(WAV)}})

    assert answer.content == WAV
    assert answer.response.headers["content-type"] == "audio/wav"
    assert given(api) == {"text": "Hello", "voice": "bob", "speed": 1.5}


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({"voice": "alloy"}, 422, "ann, bob"),
        ({"response_format": "mp3"}, 400, "wav"),
        ({"speed": 9}, 422, "speed"),
        ({"input": ""}, 422, "input"),
        ({"seed": 1.5}, 422, "seed"),
        ({"instructions": "softly"}, 400, "instructions"),
    ],
)
async def test_what_cannot_be_spoken_is_told(
    changes: dict[str, Any], status: int, told: str
) -> None:
    api = await of_kind("speech", input=VOICES)
    async with api.client() as http:
        body = {"model": "speech", "input": "x", "voice": "ann"} | changes
        answer = await http.post("/audio/speech", json=body)

    assert answer.status_code == status and told in answer.text


async def test_a_recording_that_was_never_made_is_a_502() -> None:
    api = await of_kind("speech")
    async with api.client() as http:
        asking = http.post("/audio/speech", json={"model": "speech", "input": "x"})
        answer = await answered(api, asking, {"file": {"file": "../secret.wav"}})

    assert answer.status_code == 502


@pytest.mark.parametrize("kind", ["embeddings", "image", "transcription", "speech"])
async def test_models_of_every_kind_are_listed(kind: str) -> None:
    api = await of_kind(kind)

    (model,) = (await client(api).models.list()).data

    assert (model.id, model.kind) == (f"{kind}-model", kind)  # type: ignore[attr-defined]


def test_a_subtitle_cannot_end_its_cue_or_begin_another() -> None:
    odd = [Segment(0, 3661.5, "one\n\n2\n00:00 --> 00:01\n"), Segment(1, 2, " \n ")]

    assert as_srt(odd) == (
        "1\n00:00:00,000 --> 01:01:01,500\none\n2\n00:00 → 00:01\n\n"
        "2\n00:00:01,000 --> 00:00:02,000\n…\n\n"
    )
    assert as_vtt([]) == "WEBVTT\n\n"


async def test_a_picture_is_streamed_to_its_end() -> None:
    api = await of_kind("image")
    body = {"model": "image", "prompt": "x", "stream": True, "partial_images": 2}
    async with api.client() as http:
        asking = http.post("/images/generations", json=body)
        value = {"image_data": base64.b64encode(PNG).decode(), "width": 8, "height": 8}
        answer = await answered(api, asking, value)

    assert answer.headers["content-type"].startswith("text/event-stream")
    (done,) = events(answer.text)
    assert done["type"] == "image_generation.completed" and done["size"] == "8x8"
    assert base64.b64decode(done["b64_json"]) == PNG


async def test_previews_are_streamed_as_many_as_were_asked_for() -> None:
    api = await of_kind("image")
    body = {"model": "image", "prompt": "x", "stream": True, "partial_images": 2}
    value = {"image_data": base64.b64encode(PNG).decode()}
    async with api.client() as http:
        asking = asyncio.ensure_future(http.post("/images/generations", json=body))
        answer = api.scene.world.answers.get((await api.assigned()).id)
        assert answer is not None
        for step, preview in enumerate((b"", PNG + b"1", b"<svg>", PNG + b"2", PNG + b"3")):
            answer.note = Progress(step, 5, "", preview, "image/png")
            answer.wake()
            await asyncio.sleep(0.01)
        told = events((await answered(api, asking, value)).text)

    assert [one["type"].rpartition(".")[2] for one in told] == [
        "partial_image",
        "partial_image",
        "completed",
    ]
    assert [one["partial_image_index"] for one in told[:2]] == [0, 1]
    assert [base64.b64decode(one["b64_json"]) for one in told] == [PNG + b"1", PNG + b"2", PNG]


async def test_a_stream_that_fails_before_it_began_has_a_status_of_its_own() -> None:
    api = await of_kind("image")
    body = {"model": "image", "prompt": "x", "stream": True}
    async with api.client() as http:
        asking = asyncio.ensure_future(http.post("/images/generations", json=body))
        answer = api.scene.world.answers.get((await api.assigned()).id)
        assert answer is not None
        answer.note = Progress(0, 0, "starting image")
        answer.wake()
        await asyncio.sleep(0.01)
        await api.fail(Cause.BAD_INPUT, "no such size")

    assert (await asking).status_code == 422


async def test_a_stream_that_fails_later_ends_with_an_error() -> None:
    api = await of_kind("image")
    body = {"model": "image", "prompt": "x", "stream": True}
    async with api.client() as http:
        asking = asyncio.ensure_future(http.post("/images/generations", json=body))
        answer = api.scene.world.answers.get((await api.assigned()).id)
        assert answer is not None
        answer.note = Progress(1, 4)
        answer.wake()
        await asyncio.sleep(0.01)
        await api.fail(Cause.CARGO_FAILED, "no memory")
        got = await asking

    assert got.status_code == 200 and got.text.startswith("event: error\n")
    assert events(got.text)[0]["error"]["message"] == "no memory"
