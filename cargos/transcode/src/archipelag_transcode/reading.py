"""How FFmpeg may read a stranger's file, and what it says of it.

A media file is a program for its reader. So: only files and pipes, never the network; only demuxers of media that hold
their own content, so none of playlists, lists of files or subtitles, which name other files; only decoders that are in
daily use; no more pixels than 8K.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from archipelag_transcode.errors import BadMedia

DEMUXERS: Final = (
    *("mov", "matroska", "avi", "flv", "mpegts", "mpeg", "asf", "ivf"),
    *("mp3", "wav", "flac", "ogg", "aac", "aiff", "caf"),
    *("gif", "png_pipe", "jpeg_pipe", "webp_pipe"),
)
DECODERS: Final = (
    *("h264", "hevc", "vp8", "vp9", "libvpx-vp9", "av1", "libdav1d", "mpeg4", "mpeg2video"),
    *("mpeg1video", "mjpeg", "png", "gif", "webp", "theora", "prores", "flv", "h263", "wmv2"),
    *("aac", "mp3", "mp3float", "mp2", "mp2float", "opus", "libopus", "vorbis", "libvorbis"),
    *("flac", "alac", "ac3", "eac3", "wmav2", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s32le"),
    *("pcm_u8", "pcm_f32le", "pcm_mulaw", "pcm_alaw"),
)
PIXELS_MAX: Final = 7680 * 4320

_DURATION: Final = re.compile(r"^  Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", re.M)
_CONTAINER: Final = re.compile(r"^Input #0, (.+), from '", re.M)
# At two spaces: a file's own words are deeper, whatever they pretend to be.
_STREAM: Final = re.compile(
    r"^  Stream #0:\d+(?:\[0x[0-9a-f]+\])?(?:\(\w*\))?: (Video|Audio): (\w+)(.*)$", re.M
)
_SIZE: Final = re.compile(r", (\d{1,6})x(\d{1,6})\b")
_FPS: Final = re.compile(r", ([\d.]+k?) fps\b")
_RATE: Final = re.compile(r", (\d+) Hz, ([^,]+)")


@dataclass(frozen=True)
class Stream:
    kind: str
    codec: str
    width: int = 0
    height: int = 0
    fps: float = 0.0
    sample_rate: int = 0
    channels: str = ""


@dataclass(frozen=True)
class Media:
    container: str
    duration_s: float
    """0 where the file does not say."""
    streams: tuple[Stream, ...]

    def first(self, kind: str) -> Stream | None:
        return next((stream for stream in self.streams if stream.kind == kind), None)

    def as_json(self) -> dict[str, Any]:
        streams = [
            {name: value for name, value in vars(stream).items() if value}
            for stream in self.streams
        ]
        return {"container": self.container, "duration_s": self.duration_s, "streams": streams}


def options() -> list[str]:
    """Of the input; they stand before `-i`."""
    return [
        *("-protocol_whitelist", "file,pipe"),
        *("-format_whitelist", ",".join(DEMUXERS)),
        *("-codec_whitelist", ",".join(DECODERS)),
        *("-max_pixels", str(PIXELS_MAX)),
        *("-max_streams", "64"),
        *("-probesize", "20M", "-analyzeduration", "20M"),
    ]


def named(path: Path) -> str:
    """With its protocol, so that no name is taken for an option or for an address."""
    return f"file:{path}"


def understood(said: str) -> Media:
    """What FFmpeg told of its input on standard error. Raises BadMedia when it told nothing of use."""
    container, streams = _CONTAINER.search(said), [_stream(*s) for s in _STREAM.findall(said)]
    if container is None or not streams:
        raise BadMedia(reason(said))
    duration = _DURATION.search(said)
    seconds = 0.0
    if duration is not None:
        hours, minutes, rest = duration.groups()
        seconds = round(int(hours) * 3600 + int(minutes) * 60 + float(rest), 3)
    return Media(container[1][:100], seconds, tuple(streams))


def _stream(kind: str, codec: str, rest: str) -> Stream:
    if kind == "Audio":
        rate = _RATE.search(rest)
        hertz, channels = (int(rate[1]), rate[2].strip()[:40]) if rate else (0, "")
        return Stream("audio", codec, sample_rate=hertz, channels=channels)
    size, fps = _SIZE.search(rest), _FPS.search(rest)
    width, height = (int(size[1]), int(size[2])) if size else (0, 0)
    return Stream("video", codec, width, height, _rate(fps[1]) if fps else 0.0)


def _rate(said: str) -> float:
    return float(said[:-1]) * 1_000 if said.endswith("k") else float(said)


_REASONS: Final = (
    ("Format not on whitelist", "this kind of file is not read here: it can name other files"),
    ("Codec (", "its codec is not among those that are read here"),
    ("Picture size", "its pictures are larger than 8K, or have no size"),
    ("moov atom not found", "the file is not whole: its index is missing"),
    ("No space left on device", "the result has no room"),
    ("does not contain any stream", "it holds no stream of the kind that was asked for"),
    ("matches no streams", "it holds no stream of the kind that was asked for"),
    ("Invalid data found", "the file is broken, or no media"),
)


def reason(said: str) -> str:
    """FFmpeg's last words as a sentence for the customer, without the paths of this machine."""
    for words, meaning in _REASONS:
        if words in said:
            return meaning
    return "FFmpeg could not read the file"
