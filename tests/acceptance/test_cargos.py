"""The Cargos of this repository on a whole network: asked by OpenAI's own client, run in a sandbox, paid for."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from .conftest import Network

WAIT_S = 240.0
SENTENCE = "The quick brown fox jumps over the lazy dog."


@pytest.fixture(scope="module")
def api_key(network: Network) -> str:
    return network.user("cargos@example.org", "1000", rate=10_000)


@pytest.fixture
def client(network: Network, api_key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=network.openai_url, api_key=api_key, timeout=WAIT_S) as made:
        yield made


@pytest.fixture
def http(network: Network, api_key: str) -> Iterator[httpx.Client]:
    with network.http(api_key) as made:
        yield made


def needs(client: openai.OpenAI, model: str) -> None:
    if model not in {one.id for one in client.models.list()}:
        pytest.skip(f"{model} is not listed: its engine is not installed (`make cargos`)")


def run(http: httpx.Client, slug: str, given: dict[str, Any]) -> dict[str, Any]:
    """The job, once it has ended."""
    made = http.post("/jobs", json={"workload": slug, "input": given})
    assert made.status_code == 201, made.text
    job = made.json()["data"]
    until = time.monotonic() + WAIT_S
    while job["status"] in ("pending", "queued", "running"):
        assert time.monotonic() < until, job
        time.sleep(0.1)
        job = http.get(f"/jobs/{job['id']}").json()["data"]
    return dict(job)


def test_a_picture_is_drawn_and_the_same_seed_draws_it_again(client: openai.OpenAI) -> None:
    needs(client, "image-gen")

    def drawn(seed: int) -> bytes:
        asked = {"seed": seed}
        answer = client.images.generate(
            model="image-gen", prompt="a big blue square on a white background", extra_body=asked
        )
        assert answer.data is not None and answer.data[0].b64_json is not None
        return base64.b64decode(answer.data[0].b64_json)

    first, again, other = drawn(1), drawn(1), drawn(2)

    assert first == again != other
    with Image.open(io.BytesIO(first)) as picture:
        assert picture.format == "PNG" and min(picture.size) >= 32


def test_words_of_one_kind_lie_near_each_other(client: openai.OpenAI) -> None:
    needs(client, "all-minilm-l6-v2")

    answer = client.embeddings.create(
        model="all-minilm-l6-v2", input=["a cat", "a kitten", "the stock market"]
    )

    cat, kitten, stocks = (one.embedding for one in answer.data)
    assert dot(cat, kitten) > 0.5 > dot(cat, stocks)
    assert answer.usage.prompt_tokens > 0


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_what_is_said_is_understood(client: openai.OpenAI, tmp_path: Path) -> None:
    needs(client, "text-to-speech")
    needs(client, "speech-to-text")
    spoken = client.audio.speech.create(
        model="text-to-speech", voice="alloy", input=SENTENCE, response_format="wav"
    )
    (tmp_path / "said.wav").write_bytes(spoken.content)

    with (tmp_path / "said.wav").open("rb") as sound:
        heard = client.audio.transcriptions.create(model="speech-to-text", file=sound)

    assert words(heard.text) == words(SENTENCE)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def test_a_film_becomes_a_thumbnail(
    client: openai.OpenAI, http: httpx.Client, tmp_path: Path
) -> None:
    if http.get("/workloads/transcode").status_code == 404:
        pytest.skip("transcode is not listed: its engine is not installed (`make cargos`)")
    film = a_film(tmp_path / "film.mp4")
    with film.open("rb") as file:
        uploaded = client.files.create(file=file, purpose="user_data")

    job = run(http, "transcode", {"file": uploaded.id, "operation": "thumbnail", "width": 64})

    assert job["status"] == "completed", job
    (made,) = http.get(f"/jobs/{job['id']}/files").json()["data"]
    picture = client.files.content(made["id"]).content
    with Image.open(io.BytesIO(picture)) as shown:
        assert shown.size[0] == 64
    assert float(job["usage"]["credits_used"]) > 0


def a_film(path: Path) -> Path:
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="needs FFmpeg (`make cargos`)")
    source = ("-f", "lavfi", "-i", "testsrc=size=128x96:rate=10:duration=1")
    command = [ffmpeg.get_ffmpeg_exe(), "-v", "error", *source, "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


def test_a_job_that_names_somebody_elses_file_is_refused(
    network: Network, client: openai.OpenAI, http: httpx.Client
) -> None:
    if http.get("/workloads/transcode").status_code == 404:
        pytest.skip("transcode is not listed: its engine is not installed (`make cargos`)")
    mine = client.files.create(file=("a.txt", b"mine"), purpose="user_data")
    stranger = network.user("stranger-of-files@example.org", "10")

    with network.http(stranger) as other:
        asked = {"workload": "transcode", "input": {"file": mine.id, "operation": "probe"}}
        answer = other.post("/jobs", json=asked)

    assert answer.status_code in (404, 422), answer.text


def test_islands_say_which_sandbox_runs_what(network: Network) -> None:
    with network.http() as http:
        hosts = http.get("/admin/islands").json()["data"]

    ours = next(host for host in hosts if host["name"] == "test-island")
    by_slug = {cargo["slug"]: cargo for cargo in ours["cargos"]}
    assert by_slug["hash"]["runtime"] == "wasm" and by_slug["hash"]["startable"]
    assert by_slug["llm-chat"]["runtime"] in ("native", "oci")
    assert "wasm" in json.dumps(ours["capabilities"])
