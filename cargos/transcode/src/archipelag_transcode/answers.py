"""The Cargo: a file and an operation in, the new file out, with progress from FFmpeg itself."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any, Final

from archipelag_kit import BadInput, Run, Setup, cargo

from archipelag_transcode import asked as asking
from archipelag_transcode import ffmpeg, reading, writing
from archipelag_transcode.asked import Asked
from archipelag_transcode.errors import BadMedia
from archipelag_transcode.reading import Media

# Less than the run's own seconds on one core, so that FFmpeg's end is the one that is told.
_CPU_S: Final = 500
_PARTS: Final = 1_000


@cargo.load
async def load(setup: Setup) -> Path:
    return await setup.in_thread(ffmpeg.find)


@cargo
async def transcode(run: Run) -> dict[str, Any]:
    asked = asking.read(run.input)
    source = run.files.get(asked.file)
    if source is None:
        raise BadInput("file: was not sent along with the job")
    with tempfile.TemporaryDirectory(prefix="transcode-") as scratch:
        folder = Path(scratch)
        try:
            media = await _probed(run, source, folder)
            # Work is priced by what is read: seconds begun.
            run.prompt_tokens = max(1, math.ceil(writing.length_s(asked, media.duration_s)))
            if asked.operation == "probe":
                return {"operation": "probe", "source": media.as_json()}
            target = await _made(run, asked, media, source, folder)
            output = await _probed(run, target, folder)
        except BadMedia as why:
            raise BadInput(f"file: {why}") from None
        name = f"{asked.operation}.{asked.extension}"
        sent = await run.send_file(target, name=name, media_type=asked.container.media_type)
    return {
        "operation": asked.operation,
        "output": sent,
        "media": output.as_json(),
        "source": media.as_json(),
    }


async def _probed(run: Run, source: Path, folder: Path) -> Media:
    ended = await ffmpeg.run(run.state, writing.probe(source), _nothing, folder)
    return reading.understood(ended.words)


async def _made(run: Run, asked: Asked, media: Media, source: Path, folder: Path) -> Path:
    if asked.operation in ("thumbnail", "gif") and media.first("video") is None:
        raise BadMedia("it holds no picture")
    if asked.operation == "audio" and media.first("audio") is None:
        raise BadMedia("it holds no sound")
    if asked.start_s and media.duration_s and asked.start_s >= media.duration_s:
        raise BadInput(f"start: the file has only {media.duration_s} seconds")
    # Without an extension: FFmpeg would believe it when it reads the result back.
    target = folder / "result"
    length = writing.length_s(asked, media.duration_s)
    await run.progress(0, _PARTS if length else 0)

    def heard(seconds: float) -> None:
        part = min(_PARTS, round(seconds / length * _PARTS)) if length else 0
        run.tell(part, _PARTS if length else 0, note=f"{seconds:.1f} s")

    arguments = writing.arguments(asked, source, target, threads=run.threads, cpu_s=_CPU_S)
    ended = await ffmpeg.run(run.state, arguments, heard, folder)
    if ended.code != 0 or not target.is_file() or not target.stat().st_size:
        raise BadMedia(reading.reason(ended.words))
    if target.stat().st_size >= writing.OUTPUT_BYTES_MAX:
        raise BadMedia(f"the result would have more than {writing.OUTPUT_BYTES_MAX >> 20} MiB")
    return target


def _nothing(_seconds: float) -> None:
    pass
