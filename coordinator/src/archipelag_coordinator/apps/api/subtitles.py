"""Written-down speech as subtitles, in the two formats that players read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    start_s: float
    end_s: float
    text: str


def as_srt(segments: Sequence[Segment]) -> str:
    return "".join(
        f"{index}\n{_time(one.start_s, ',')} --> {_time(one.end_s, ',')}\n{_lines(one)}\n\n"
        for index, one in enumerate(segments, 1)
    )


def as_vtt(segments: Sequence[Segment]) -> str:
    cues = (
        f"{_time(one.start_s, '.')} --> {_time(one.end_s, '.')}\n{_lines(one)}\n\n"
        for one in segments
    )
    return "WEBVTT\n\n" + "".join(cues)


def _lines(segment: Segment) -> str:
    """An empty line or an arrow would end the cue or begin another."""
    kept = (line.strip() for line in segment.text.splitlines())
    return "\n".join(line for line in kept if line).replace("-->", "→") or "…"


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, part = divmod(rest, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}{point}{part:03}"
