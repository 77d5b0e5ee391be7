"""The Cargo: a text in, a recording of it out; the same recording for the same seed."""

from __future__ import annotations

import io
import math
import wave
from typing import Any, Final

import numpy as np
from archipelag_kit import BadInput, Run, Setup, cargo
from numpy.typing import NDArray

VOICE: Final = "heart"
# Programs written for other networks must name a voice; these two mean whichever there is.
_ANY_VOICE: Final = ("default", "alloy")
_SPEED: Final = (0.5, 2.0)


@cargo.load
async def load(setup: Setup) -> Any:
    # No determinism class: the sums are the machine's, so equal recordings are promised for one machine only.
    return await setup.in_thread(voice, setup.threads)


def voice(threads: int) -> Any:
    """The voice inside of the wheel; others would be fetched, and here is no network."""
    from hibari import Hibari

    speaker = Hibari(VOICE, threads=threads)
    speaker("Ready.", seed=0)
    return speaker


@cargo
async def speak(run: Run) -> dict[str, Any]:
    text = run.input["text"].strip()
    if not text:
        raise BadInput("text: must say something")
    named = run.input.get("voice", VOICE)
    if named != VOICE and named not in _ANY_VOICE:
        raise BadInput(f"voice: must be {VOICE}, the only one there is")
    speed = float(run.input.get("speed", 1))
    if not math.isfinite(speed) or not _SPEED[0] <= speed <= _SPEED[1]:
        raise BadInput(f"speed: must be {_SPEED[0]} to {_SPEED[1]}")
    # Work is priced by what is read: characters.
    run.prompt_tokens = len(text)
    samples = await run.in_thread(_spoken, run, text, speed)
    if not len(samples):
        raise BadInput("text: holds nothing that can be said in English")
    sent = await run.send_file(
        recording(samples, run.state.sample_rate), name="speech.wav", media_type="audio/wav"
    )
    seconds = round(len(samples) / run.state.sample_rate, 3)
    return {"file": sent, "voice": VOICE, "duration_s": seconds, "seed": run.input.get("seed", 0)}


def _spoken(run: Run, text: str, speed: float) -> NDArray[np.float32]:
    """Sentence by sentence, so that a long text can be stopped and says how far it is."""
    chance = np.random.default_rng(run.input.get("seed", 0))
    try:
        sentences = run.state.phonemize(text)
    except (LookupError, ValueError):
        # A number of three hundred digits, for one.
        raise BadInput("text: holds something that cannot be read aloud") from None
    parts = []
    for i, sentence in enumerate(sentences):
        if run.cancelled:
            break
        parts.append(run.state.from_ids(run.state.ids(sentence), speed, chance))
        run.tell(i + 1, len(sentences))
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def recording(samples: NDArray[np.float32], hertz: int) -> bytes:
    """A WAV file of 16 bits and one channel."""
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(hertz)
        whole = (np.clip(samples, -1, 1) * 32_767).round().astype("<i2")
        file.writeframes(whole.tobytes())
    return written.getvalue()
