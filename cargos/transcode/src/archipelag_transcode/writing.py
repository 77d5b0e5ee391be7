"""From what was asked for to FFmpeg's arguments. Every word in them is from this file or a number."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from archipelag_transcode import reading
from archipelag_transcode.asked import SECONDS_MAX, Asked

OUTPUT_BYTES_MAX: Final = 192 << 20
"""Of the 256 MiB that the standard tier has for `/tmp`."""
_GIF_SECONDS: Final = 30.0
_GIF_WIDTH: Final = 480
_GIF_FPS: Final = 12
_THUMBNAIL_WIDTH: Final = 640

# Encoder, the option for its quality with its worst and best values, and what else it needs to be quick and playable.
_VIDEO: Final[dict[str, tuple[str, tuple[str, int, int], tuple[str, ...]]]] = {
    "h264": ("libx264", ("-crf", 40, 16), ("-preset", "veryfast", "-pix_fmt", "yuv420p")),
    "h265": (
        "libx265",
        ("-crf", 42, 18),
        ("-preset", "veryfast", "-pix_fmt", "yuv420p", "-tag:v", "hvc1"),
    ),
    "vp9": (
        "libvpx-vp9",
        ("-crf", 55, 20),
        ("-deadline", "realtime", "-cpu-used", "6", "-row-mt", "1", "-pix_fmt", "yuv420p"),
    ),
    "av1": ("libsvtav1", ("-crf", 58, 22), ("-preset", "10", "-pix_fmt", "yuv420p")),
    "jpeg": ("mjpeg", ("-q:v", 25, 2), ("-pix_fmt", "yuvj420p")),
    "png": ("png", ("-compression_level", 9, 9), ()),
    "gif": ("gif", ("-loop", 0, 0), ()),
}
_AUDIO: Final = {
    "aac": "aac",
    "mp3": "libmp3lame",
    "opus": "libopus",
    "vorbis": "libvorbis",
    "flac": "flac",
    "pcm": "pcm_s16le",
}
_LOSSLESS: Final = ("flac", "pcm")
_QUALITY_DEFAULT: Final = 60
_AUDIO_KBPS_DEFAULT: Final = 128


def probe(source: Path) -> list[str]:
    """Without an output FFmpeg says what the input is, and ends with an error, which is none."""
    return ["-hide_banner", "-nostdin", *reading.options(), "-i", reading.named(source)]


def arguments(asked: Asked, source: Path, target: Path, *, threads: int, cpu_s: int) -> list[str]:
    """One input, one output, progress on standard output, and bounds on time, threads and size."""
    return [
        *("-hide_banner", "-nostdin", "-y", "-loglevel", "warning"),
        *("-nostats", "-progress", "pipe:1", "-timelimit", str(cpu_s)),
        *("-filter_threads", str(threads), "-threads", str(threads)),
        *_where(asked),
        *reading.options(),
        *("-i", reading.named(source)),
        *_what(asked),
        # Of the file's own words nothing is kept: they can say where and by whom it was made.
        *("-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1", "-bitexact"),
        *("-threads", str(threads), "-fs", str(OUTPUT_BYTES_MAX)),
        *("-f", asked.container.muxer, reading.named(target)),
    ]


def length_s(asked: Asked, duration_s: float) -> float:
    """How long the result will be, for the progress; 0 where nobody knows."""
    if asked.operation == "thumbnail":
        return 0.0
    end = min(asked.end_s or SECONDS_MAX, duration_s or SECONDS_MAX)
    if asked.operation == "gif":
        end = min(end, asked.start_s + _GIF_SECONDS)
    return max(0.0, end - asked.start_s) if asked.end_s or duration_s else 0.0


def _where(asked: Asked) -> list[str]:
    """Before the input, so that it is sought and not read through. The end bounds what never ends."""
    end = asked.end_s or SECONDS_MAX
    if asked.operation == "gif":
        end = min(end, asked.start_s + _GIF_SECONDS)
    return ["-ss", f"{asked.start_s:.3f}", "-t", f"{end - asked.start_s:.3f}"]


def _what(asked: Asked) -> list[str]:
    match asked.operation:
        case "thumbnail":
            frame = ["-map", "0:v:0", "-frames:v", "1", "-update", "1"]
            return [*frame, "-vf", _scale(asked, _THUMBNAIL_WIDTH), *_video(asked)]
        case "gif":
            # A palette of its own: the common one makes faces green.
            pictures = f"fps={asked.fps or _GIF_FPS},{_scale(asked, _GIF_WIDTH)}"
            own = f"{pictures},split[a][b];[a]palettegen[p];[b][p]paletteuse"
            return ["-map", "0:v:0", "-vf", own, *_video(asked)]
        case "audio":
            return ["-map", "0:a:0", "-vn", *_audio(asked)]
        case _:
            return [*_both(asked), *_video(asked), *_audio(asked)]


def _both(asked: Asked) -> list[str]:
    chosen = []
    if asked.video_codec:
        filters = [f"fps={asked.fps}"] if asked.fps else []
        filters.append(_scale(asked, 0))
        # Pictures keep their own times: a file with two, an hour apart, must not become 90,000.
        chosen += ["-map", "0:v:0?", "-vf", ",".join(filters), "-fps_mode", "vfr"]
    if asked.audio_codec:
        chosen += ["-map", "0:a:0?"]
    return chosen


def _scale(asked: Asked, width_default: int) -> str:
    """To the sides asked for, the other by the picture's proportions; always even, never above 4096."""
    width, height = asked.width, asked.height
    if not width and not height:
        if not width_default:
            return "scale='min(4096,trunc(iw/2)*2)':-2"
        return f"scale='min({width_default},trunc(iw/2)*2)':-2"
    return f"scale={width or -2}:{height or -2}"


def _video(asked: Asked) -> list[str]:
    if not asked.video_codec:
        return ["-vn"]
    encoder, (option, worst, best), others = _VIDEO[asked.video_codec]
    if asked.video_kbps:
        rate = ["-b:v", f"{asked.video_kbps}k"]
    else:
        share = (asked.quality or _QUALITY_DEFAULT) / 100
        rate = [option, str(round(worst + (best - worst) * share))]
        rate += ["-b:v", "0"] if asked.video_codec == "vp9" else []
    return ["-c:v", encoder, *rate, *others]


def _audio(asked: Asked) -> list[str]:
    if not asked.audio_codec:
        return ["-an"]
    chosen = ["-c:a", _AUDIO[asked.audio_codec], "-ac", "2"]
    if asked.audio_codec not in _LOSSLESS:
        chosen += ["-b:a", f"{asked.audio_kbps or _AUDIO_KBPS_DEFAULT}k"]
    return chosen
