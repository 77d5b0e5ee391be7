"""The real voice: a recording that can be played, the same for the same seed."""

import io
import wave
from pathlib import Path
from typing import Any

import pytest
from archipelag_kit import BadInput
from archipelag_kit.testing import perform
from archipelag_text_to_speech.answers import speak, voice

MANIFEST = Path(__file__).parents[1] / "manifest.toml"


@pytest.fixture(scope="module")
def speaker() -> Any:
    pytest.importorskip("hibari", reason="needs the Cargos' engines")
    return voice(threads=1)


async def spoken(speaker: Any, **said: Any) -> tuple[Any, bytes]:
    answer = await perform(speak, said, manifest=MANIFEST, state=speaker)
    return answer, answer.files["speech.wav"]


async def test_a_text_becomes_a_wav(speaker: Any) -> None:
    answer, recording = await spoken(speaker, text="Hello there. How are you?")

    with wave.open(io.BytesIO(recording)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        assert 1 < file.getnframes() / 24_000 < 6
    assert answer.value["file"]["media_type"] == "audio/wav"
    assert answer.prompt_tokens == 25
    assert [told.step for told in answer.progress][-1] == 2


async def test_equal_seeds_give_equal_recordings(speaker: Any) -> None:
    (_, first), (_, again), (_, other) = [
        await spoken(speaker, text="Hello there.", seed=seed) for seed in (7, 7, 8)
    ]

    assert first == again != other


async def test_a_lower_speed_takes_longer(speaker: Any) -> None:
    _, slow = await spoken(speaker, text="Hello there, you.", speed=0.6)
    _, fast = await spoken(speaker, text="Hello there, you.", speed=1.8)

    assert len(slow) > 1.5 * len(fast)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"text": ""}, "text"),
        ({"text": "   "}, "text"),
        ({"text": "a" * 4_097}, "text"),
        ({"text": "a", "voice": "emma"}, "voice"),
        ({"text": "a", "speed": 0.1}, "speed"),
        ({"text": "a", "speed": 3}, "speed"),
        ({"text": "a", "seed": -1}, "seed"),
    ],
)
async def test_bad_input_is_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        await perform(speak, said, manifest=MANIFEST, state=None)


@pytest.mark.parametrize("text", ["…", "\u0000\u200b", "你好", "🎉" * 50, "1" * 300, "a" * 4_096])
async def test_strange_texts_end_in_a_recording_or_a_sentence(text: str, speaker: Any) -> None:
    try:
        told: object = len((await spoken(speaker, text=text))[1])
    except BadInput as why:
        told = str(why)

    assert told
