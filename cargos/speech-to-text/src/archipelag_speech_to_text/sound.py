"""Opens a stranger's recording: few kinds of files, none that names others, no network, and so many seconds at most."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from archipelag_kit import BadInput
from numpy.typing import NDArray

HERTZ: Final = 16_000
SECONDS_MAX: Final = 30 * 60
_DEMUXERS: Final = "mov,matroska,mp3,wav,flac,ogg,aac,aiff,caf,avi,mpegts,asf"
_OPTIONS: Final = {"protocol_whitelist": "file", "format_whitelist": _DEMUXERS}


def heard(path: Path) -> NDArray[np.float32]:
    """One channel of 16,000 numbers a second, from -1 to 1. Raises BadInput."""
    import av

    try:
        with av.open(f"file:{path}", mode="r", options=_OPTIONS, metadata_errors="ignore") as file:
            if not file.streams.audio:
                raise BadInput("file: holds no sound")
            return _samples(file, file.streams.audio[0], av)
    except (av.FFmpegError, ValueError, UnicodeError):
        raise BadInput("file: is no recording that can be read here, or is broken") from None


def _samples(file: Any, stream: Any, av: Any) -> NDArray[np.float32]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=HERTZ)
    parts: list[NDArray[np.int16]] = []
    room = SECONDS_MAX * HERTZ
    for frame in file.decode(stream):
        frame.pts = None  # Times that jump would be filled with silence, without end.
        for piece in resampler.resample(frame):
            part = piece.to_ndarray().reshape(-1)
            parts.append(part)
            room -= len(part)
        if room < 0:
            raise BadInput(f"file: is longer than {SECONDS_MAX // 60} minutes")
    parts += [piece.to_ndarray().reshape(-1) for piece in resampler.resample(None)]
    if not parts:
        raise BadInput("file: holds no sound")
    return np.concatenate(parts).astype(np.float32) / np.float32(32_768)
