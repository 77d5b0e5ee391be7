"""What a customer may ask of FFmpeg: an operation and named options, each with its bounds; no argument is theirs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from archipelag_kit import BadInput

OPERATIONS: Final = ("transcode", "clip", "thumbnail", "gif", "audio", "probe")
SECONDS_MAX: Final = 4 * 3600
SIDE_MAX: Final = 4_096


@dataclass(frozen=True)
class Container:
    """A kind of output file, and which codecs it may hold, the usual one first."""

    muxer: str
    media_type: str
    video: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()


CONTAINERS: Final[Mapping[str, Container]] = {
    "mp4": Container("mp4", "video/mp4", ("h264", "h265", "av1"), ("aac", "mp3", "opus")),
    "webm": Container("webm", "video/webm", ("vp9", "av1"), ("opus", "vorbis")),
    "mkv": Container(
        "matroska",
        "video/x-matroska",
        ("h264", "h265", "vp9", "av1"),
        ("aac", "opus", "mp3", "flac", "vorbis"),
    ),
    "gif": Container("gif", "image/gif", ("gif",)),
    "png": Container("image2", "image/png", ("png",)),
    "jpg": Container("image2", "image/jpeg", ("jpeg",)),
    "m4a": Container("ipod", "audio/mp4", (), ("aac",)),
    "mp3": Container("mp3", "audio/mpeg", (), ("mp3",)),
    "ogg": Container("ogg", "audio/ogg", (), ("opus", "vorbis")),
    "flac": Container("flac", "audio/flac", (), ("flac",)),
    "wav": Container("wav", "audio/wav", (), ("pcm",)),
}
# Which containers an operation may write, the usual one first.
_WRITES: Final[Mapping[str, tuple[str, ...]]] = {
    "transcode": ("mp4", "webm", "mkv"),
    "clip": ("mp4", "webm", "mkv"),
    "thumbnail": ("jpg", "png"),
    "gif": ("gif",),
    "audio": ("m4a", "mp3", "ogg", "flac", "wav"),
    "probe": ("",),
}


@dataclass(frozen=True)
class Asked:
    file: str
    operation: str
    extension: str = ""
    video_codec: str = ""
    audio_codec: str = ""
    width: int = 0
    height: int = 0
    fps: int = 0
    start_s: float = 0.0
    end_s: float = 0.0
    """0: to the end."""
    quality: int = 0
    """1 to 100; 0: the codec's own."""
    video_kbps: int = 0
    audio_kbps: int = 0

    @property
    def container(self) -> Container:
        return CONTAINERS[self.extension]


def read(said: Mapping[str, Any]) -> Asked:
    """From an input that fits the manifest's schema. Raises BadInput for what a schema cannot say."""
    operation = said["operation"]
    extension = said.get("container", _WRITES[operation][0])
    if extension not in _WRITES[operation]:
        raise BadInput(f"container: {operation} writes {' or '.join(_WRITES[operation])}".strip())
    start, end = _seconds(said, "start"), _seconds(said, "end")
    if end and end <= start:
        raise BadInput("end: must be after start")
    if operation == "clip" and not end:
        raise BadInput("end: is missing: a clip begins at start and ends at end")
    container = CONTAINERS.get(extension, Container("", ""))
    return Asked(
        file=said["file"],
        operation=operation,
        extension=extension,
        video_codec=_codec(said, "video_codec", extension, container.video),
        audio_codec=_codec(said, "audio_codec", extension, container.audio),
        width=_even(said, "width"),
        height=_even(said, "height"),
        fps=said.get("fps", 0),
        start_s=start,
        end_s=end,
        quality=said.get("quality", 0),
        video_kbps=said.get("video_kbps", 0),
        audio_kbps=said.get("audio_kbps", 0),
    )


def _seconds(said: Mapping[str, Any], name: str) -> float:
    value = float(said.get(name, 0))
    if not math.isfinite(value) or not 0 <= value <= SECONDS_MAX:
        raise BadInput(f"{name}: must be 0 to {SECONDS_MAX} seconds")
    return value


def _codec(said: Mapping[str, Any], name: str, extension: str, known: tuple[str, ...]) -> str:
    wanted = said.get(name, known[0] if known else "none")
    if wanted != "none" and wanted not in known:
        fits = ", ".join((*known, "none"))
        raise BadInput(f"{name}: {extension or 'a probe'} holds {fits}")
    return "" if wanted == "none" else str(wanted)


def _even(said: Mapping[str, Any], name: str) -> int:
    """Most codecs store colour at half the resolution."""
    value = int(said.get(name, 0))
    if value % 2:
        raise BadInput(f"{name}: must be even")
    return value
