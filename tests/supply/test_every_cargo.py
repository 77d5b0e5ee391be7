"""Each Cargo of the repository, from its source to an answer: built, pushed, signed, pulled by digest, verified and run
in every runtime that this machine has."""

from __future__ import annotations

import hashlib
import json
import math
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from archipelag_contracts.manifest import Manifest
from archipelag_island.adapters.images import OciImages
from archipelag_island.adapters.models import FetchedModels

from .publisher import ROOT, Publisher
from .running import Answer, answer_of, open_runtime, spec_of

# Packing and compiling a Python, and the packages of eight Cargos, takes a busy machine its time.
pytestmark = pytest.mark.timeout(500)

WASM: Final = ("csv", "diff", "hash", "image-resize", "json-query", "markdown", "qr", "regex")
LIGHT: Final = ("echo", "embeddings", "image-gen", "text-to-speech", "transcode")
HEAVY: Final = ("ocr", "speech-to-text")
"""Large ones, which run in the first container runtime alone."""
OWN: Final = ("llm-chat", "llama-cpp", "vllm")
"""Whose images their own tests build and run: the model, or the server, is what takes the time."""
WAYS: Final = (
    *((slug, "wasm") for slug in WASM),
    *((slug, way) for slug in LIGHT for way in ("crun", "runc", "native")),
    *((slug, "crun") for slug in HEAVY),
)
INPUTS: Final[dict[str, Any]] = {"echo": {"text": "land ho"}}
"""Of what has no example in its manifest."""


def test_no_cargo_of_the_repository_is_left_out() -> None:
    folders = {path.parent.name for path in (ROOT / "cargos").glob("**/manifest.toml")}

    assert folders | {"echo"} == {*WASM, *LIGHT, *HEAVY, *OWN}


@pytest.fixture
def manifest(publisher: Publisher, slug: str) -> Manifest:
    return publisher.published(slug)


@pytest.mark.parametrize(("slug", "way"), WAYS)
async def test_a_cargo_is_pulled_by_digest_and_answers_its_example(
    slug: str, way: str, manifest: Manifest, publisher: Publisher, island: Path, tmp_path: Path
) -> None:
    runtime = await open_runtime(way, island / "compiled")
    images = OciImages(island, lambda: publisher.address, bytes_max=16 << 30)
    found = model = None
    if way != "native":
        found = await images.fetch(manifest, publisher.key.public, lambda _: None)
    if manifest.model is not None:
        # From the registry too: whoever has the image needs no package for its weights.
        models = FetchedModels(island / "models", pull=images.fetch_model)
        model = await models.fetch("", manifest)
    said, files = said_to(slug, manifest, tmp_path)

    answer = await answer_of(runtime, spec_of(manifest, found, model), said, files)

    LOOKS[slug](said, answer)


def said_to(slug: str, manifest: Manifest, folder: Path) -> tuple[Any, dict[str, Path]]:
    """The manifest's own example, with a small file where it names one."""
    said = INPUTS.get(slug) or json.loads(json.dumps(dict(manifest.example)))
    if "file" not in said:
        return said, {}
    path = folder / said["file"]
    {"ocr": _painted, "speech-to-text": _spoken, "transcode": _sounded}[slug](path)
    path.chmod(0o644)
    return said, {said["file"]: path}


def _painted(path: Path) -> None:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (640, 200), "white")
    pen = ImageDraw.Draw(picture)
    for i, line in enumerate(("Hello Island", "Karma 42")):
        pen.text((40, 30 + 80 * i), line, fill="black", font=ImageFont.load_default(40))
    picture.save(path, "PNG")


def _sounded(path: Path) -> None:
    with path.open("wb") as out, wave.open(out, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        tone = (int(9000 * math.sin(i / 3)) for i in range(8000))
        sound.writeframes(b"".join(value.to_bytes(2, "little", signed=True) for value in tone))


def _spoken(path: Path) -> None:
    from hibari import Hibari

    speaker = Hibari("heart", threads=1)
    samples = speaker("Seven islands share their machines.", seed=1)
    with path.open("wb") as out, wave.open(out, "wb") as sound:
        sound.setparams((1, 2, speaker.sample_rate, 0, "NONE", ""))
        sound.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())


def echo(said: Any, answer: Answer) -> None:
    assert answer.text.split() == said["text"].split()


def embeddings(said: Any, answer: Answer) -> None:
    cat, kitten, shares = answer.json["embeddings"]
    assert len(cat) == 384
    near, far = (sum(a * b for a, b in zip(cat, other, strict=True)) for other in (kitten, shares))
    assert near > 0.5 > far


def image_gen(said: Any, answer: Answer) -> None:
    import base64

    assert base64.b64decode(answer.json["image_data"]).startswith(b"\x89PNG\r\n\x1a\n")
    assert (answer.json["width"], answer.json["seed"]) == (256, said["seed"])


def ocr(said: Any, answer: Answer) -> None:
    assert answer.json["text"] == "Hello Island\nKarma 42"


def speech_to_text(said: Any, answer: Answer) -> None:
    assert "islands share their machines" in answer.json["text"].lower()


def text_to_speech(said: Any, answer: Answer) -> None:
    assert list(answer.files) == ["speech.wav"]
    assert answer.files["speech.wav"][:4] == b"RIFF" and answer.json["duration_s"] > 1


def transcode(said: Any, answer: Answer) -> None:
    assert answer.json["operation"] == "probe"
    assert "pcm_s16le" in answer.text


def csv(said: Any, answer: Answer) -> None:
    assert answer.json["rows"] == [["Kos", "6"], ["Naxos", "1"]]


def diff(said: Any, answer: Answer) -> None:
    assert (answer.json["removed"], answer.json["added"]) == (1, 2)


def hashed(said: Any, answer: Answer) -> None:
    wanted = {name: hashlib.new(name, said["text"].encode()) for name in said["algorithms"]}
    assert answer.json["digests"] == {name: one.hexdigest() for name, one in wanted.items()}


def image_resize(said: Any, answer: Answer) -> None:
    assert answer.json["width"] == said["width"] and answer.json["image"]


def json_query(said: Any, answer: Answer) -> None:
    assert answer.json["values"] == ["Kos"]


def markdown(said: Any, answer: Answer) -> None:
    assert "<td><em>Kos</em></td>" in answer.json["html"]


def qr(said: Any, answer: Answer) -> None:
    assert answer.json["svg"].startswith("<svg")


def regex(said: Any, answer: Answer) -> None:
    assert [one["text"] for one in answer.json["matches"]] == ["2026-11", "2027-03"]


LOOKS: Final[dict[str, Callable[[Any, Answer], None]]] = {
    "csv": csv,
    "diff": diff,
    "echo": echo,
    "embeddings": embeddings,
    "hash": hashed,
    "image-gen": image_gen,
    "image-resize": image_resize,
    "json-query": json_query,
    "markdown": markdown,
    "ocr": ocr,
    "qr": qr,
    "regex": regex,
    "speech-to-text": speech_to_text,
    "text-to-speech": text_to_speech,
    "transcode": transcode,
}
