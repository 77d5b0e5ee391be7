"""The Cargo: a picture in; its lines of text, where each stands and how sure the reader is out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from archipelag_kit import BadInput, Run, Setup, cargo

from archipelag_ocr import picture


@cargo.load
async def load(setup: Setup) -> Any:
    return await setup.in_thread(reader, setup.threads)


def reader(threads: int) -> Any:
    """RapidOCR with the models of its wheel; it fetches nothing."""
    from rapidocr import RapidOCR

    return RapidOCR(
        params={
            "Global.log_level": "error",
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


@cargo
async def read(run: Run) -> dict[str, Any]:
    source = run.files.get(run.input["file"])
    if source is None:
        raise BadInput("file: was not sent along with the job")
    await run.progress(0, 1)
    return await run.in_thread(_read, run, source)


def _read(run: Run, source: Path) -> dict[str, Any]:
    whole = picture.opened(source)
    # Work is priced by the picture's size: a unit is a tenth of a million pixels.
    run.prompt_tokens = 1 + whole.width * whole.height // 100_000
    pixels, scale = picture.fitted(whole)
    found = run.state(pixels)
    sure = run.input.get("confidence_min", 50) / 100
    lines = [
        {
            "text": text,
            "confidence": round(float(score), 4),
            "box": [[round(float(x) / scale), round(float(y) / scale)] for x, y in box],
        }
        for text, score, box in _lines(found)
        if score >= sure
    ]
    return {
        "text": "\n".join(str(line["text"]) for line in lines),
        "lines": lines,
        "width": whole.width,
        "height": whole.height,
    }


def _lines(found: Any) -> list[tuple[str, float, Any]]:
    """From top to bottom, as the reader gives them; nothing where it found nothing."""
    if found.txts is None or found.boxes is None:
        return []
    return list(zip(found.txts, found.scores, found.boxes, strict=True))
