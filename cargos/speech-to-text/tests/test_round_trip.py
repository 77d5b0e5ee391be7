"""What text-to-speech says, speech-to-text understands."""

from pathlib import Path
from typing import Any

import pytest
from archipelag_kit import BadInput
from archipelag_kit.testing import perform
from archipelag_speech_to_text.answers import bundled, transcribe, whisper
from archipelag_text_to_speech.answers import speak, voice

STT = Path(__file__).parents[1] / "manifest.toml"
TTS = Path(__file__).parents[2] / "text-to-speech" / "manifest.toml"
FILE = "file_" + "4" * 32


@pytest.fixture(scope="module")
def speaker() -> Any:
    pytest.importorskip("hibari", reason="needs the Cargos' engines")
    return voice(threads=1)


@pytest.fixture(scope="module")
def listener() -> Any:
    pytest.importorskip("faster_whisper", reason="needs the Cargos' engines")
    return whisper(bundled(), threads=1, slots=1)


async def test_words_that_are_spoken_are_understood(
    speaker: Any, listener: Any, tmp_path: Path
) -> None:
    text = "The quick brown fox jumps over the lazy dog. Seven islands share their machines."
    spoken = await perform(speak, {"text": text, "seed": 1}, manifest=TTS, state=speaker)
    recording = saved(tmp_path / FILE, spoken.files["speech.wav"])

    heard = await perform(
        transcribe, {"file": FILE}, manifest=STT, files={FILE: recording}, state=listener
    )

    words = heard.value["text"].lower()
    assert "quick brown fox jumps over the lazy dog" in words
    assert "islands share their machines" in words
    assert heard.value["language"] == "en"
    assert abs(heard.value["duration_s"] - spoken.value["duration_s"]) < 0.1
    assert heard.value["segments"][0]["start"] < heard.value["segments"][-1]["end"]
    assert heard.prompt_tokens >= 3


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"language": "xx"}, "language"),
        ({"temperature": 2}, "temperature"),
        ({"file": "/etc/passwd"}, "file"),
        ({"model": "x"}, "model"),
    ],
)
async def test_bad_input_is_refused(
    said: dict[str, Any], why: str, listener: Any, tmp_path: Path
) -> None:
    recording = saved(tmp_path / FILE, b"x")
    given = {"file": FILE, **said}

    with pytest.raises(BadInput, match=why):
        await perform(transcribe, given, manifest=STT, files={FILE: recording}, state=listener)


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
