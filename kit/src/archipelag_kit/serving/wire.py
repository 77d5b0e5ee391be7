"""The kit's events as the Cargo protocol's messages."""

from __future__ import annotations

import resource
import sys
from typing import assert_never

from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb
from archipelag_contracts.pb.archipelag.v1 import common_pb2

from archipelag_kit.events import End, FilePart, Items, Progress, PromptTokens


def message(event: Items | Progress | FilePart | PromptTokens | End) -> pb.RunEvent:
    match event:
        case Items():
            return pb.RunEvent(first=event.first, texts=event.texts)
        case Progress():
            progress = pb.RunEvent.Progress(
                step=event.step,
                total=event.total,
                note=event.note,
                preview=event.preview,
                preview_type=event.preview_type,
            )
            return pb.RunEvent(progress=progress)
        case FilePart():
            part = pb.FilePart(
                name=event.name,
                media_type=event.media_type,
                data=event.data,
                last=event.last,
                sha256=event.sha256,
            )
            return pb.RunEvent(file=part)
        case PromptTokens():
            return pb.RunEvent(prompt_tokens=event.count, cached_tokens=event.cached)
        case End():
            return pb.RunEvent(end=_end(event))
        case _:
            assert_never(event)


def _end(event: End) -> pb.RunEnd:
    return pb.RunEnd(
        finish_reason=event.finish_reason,
        error=event.error,
        usage=common_pb2.Usage(
            prompt_tokens=event.prompt_tokens,
            output_items=event.output_items,
            memory_peak_bytes=_memory_peak_bytes(),
            wall_ms=event.wall_ms,
        ),
    )


def _memory_peak_bytes() -> int:
    """Of the whole process: its runs share one."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
