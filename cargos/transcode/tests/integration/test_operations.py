"""Ten files in, ten files out, by the real FFmpeg; what came out is judged by another build's ffprobe and kept."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from archipelag_kit import BadInput
from archipelag_kit.testing import perform
from archipelag_transcode.answers import transcode

MANIFEST = Path(__file__).parents[2] / "manifest.toml"
FILE = "file_" + "1" * 32

VIDEO = ("-f", "lavfi", "-i", "testsrc2=duration=2:size=320x240:rate=25")
MANDELBROT = ("-f", "lavfi", "-i", "mandelbrot=size=640x360:rate=12", "-t", "1")
BARS = ("-f", "lavfi", "-i", "smptehdbars=duration=1:size=1280x720:rate=10")
LIFE = ("-f", "lavfi", "-i", "life=size=160x120:rate=15:mold=10:random_seed=7", "-t", "2")
TONE = ("-f", "lavfi", "-i", "sine=frequency=440:duration=2")
CHORD = ("-f", "lavfi", "-i", "aevalsrc=0.2*sin(440*2*PI*t)+0.2*sin(660*2*PI*t):d=2:s=48000")
BEST = ("-c:v", "libx264", "-preset", "ultrafast")

# Its source, what is asked for, and what ffprobe must find.
TEN: list[tuple[str, tuple[str, ...], dict[str, Any], set[tuple[str, Any]]]] = [
    (
        "mp4-to-webm",
        (*VIDEO, *TONE, *BEST, "-c:a", "aac", "in1.mp4"),
        {"operation": "transcode", "container": "webm", "video_kbps": 300},
        {("vp9", (320, 240)), ("opus", 2)},
    ),
    (
        "webm-to-mp4",
        (*LIFE, "-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "in2.webm"),
        {"operation": "transcode", "width": 240, "fps": 10, "quality": 80},
        {("h264", (240, 180))},
    ),
    (
        "avi-to-h265",
        (*VIDEO, "-c:v", "mpeg4", "in3.avi"),
        {"operation": "transcode", "video_codec": "h265", "audio_codec": "none"},
        {("hevc", (320, 240))},
    ),
    (
        "mkv-to-av1",
        (*LIFE, *BEST, "in4.mkv"),
        {"operation": "transcode", "container": "mkv", "video_codec": "av1"},
        {("av1", (160, 120))},
    ),
    (
        "clip",
        (*VIDEO, *TONE, *BEST, "-c:a", "aac", "in5.mp4"),
        {"operation": "clip", "start": 0.5, "end": 1.25},
        {("h264", (320, 240)), ("aac", 2)},
    ),
    (
        "thumbnail",
        (*BARS, *BEST, "in6.mp4"),
        {"operation": "thumbnail", "start": 0.5, "width": 320},
        {("mjpeg", (320, 180))},
    ),
    (
        "thumbnail-png",
        (*MANDELBROT, *BEST, "in7.mkv"),
        {"operation": "thumbnail", "container": "png"},
        {("png", (640, 360))},
    ),
    (
        "gif",
        (*LIFE, *BEST, "in8.mp4"),
        {"operation": "gif", "fps": 8, "width": 120},
        {("gif", (120, 90))},
    ),
    (
        "video-to-mp3",
        (*VIDEO, *CHORD, *BEST, "-c:a", "libopus", "in9.mkv"),
        {"operation": "audio", "container": "mp3", "audio_kbps": 96},
        {("mp3", 2)},
    ),
    (
        "flac-to-ogg",
        (*CHORD, "in10.flac"),
        {"operation": "audio", "container": "ogg"},
        {("opus", 2)},
    ),
]


def judged(ffprobe: Path, path: Path) -> tuple[set[tuple[str, Any]], float]:
    command = [str(ffprobe), "-v", "error", "-show_streams", "-show_format", "-of", "json"]
    said = subprocess.run([*command, str(path)], check=True, capture_output=True)
    found = json.loads(said.stdout)
    streams = {
        (
            s["codec_name"],
            (s["width"], s["height"]) if s["codec_type"] == "video" else s["channels"],
        )
        for s in found["streams"]
    }
    return streams, float(found["format"].get("duration", 0))


@pytest.mark.parametrize(("name", "source", "asked", "wanted"), TEN, ids=[one[0] for one in TEN])
async def test_ten_files_become_what_was_asked_for(
    name: str,
    source: tuple[str, ...],
    asked: dict[str, Any],
    wanted: set[tuple[str, Any]],
    make: Any,
    ffmpeg: Path,
    ffprobe: Path,
    artifacts: Path,
) -> None:
    given = {"file": FILE, **asked}

    answer = await perform(
        transcode, given, manifest=MANIFEST, files={FILE: make(*source)}, state=ffmpeg
    )

    output = answer.value["output"]
    made = artifacts / f"{name}{Path(output['file']).suffix}"
    made.write_bytes(answer.files[output["file"]])
    streams, duration = judged(ffprobe, made)
    assert streams == wanted
    assert {s["codec"] for s in answer.value["media"]["streams"]} <= {s[0] for s in wanted}
    if asked["operation"] == "clip":
        assert abs(duration - 0.75) < 0.1
    assert answer.prompt_tokens >= 1


async def test_probe_tells_what_a_file_is(clip: Path, ffmpeg: Path) -> None:
    given = {"file": FILE, "operation": "probe"}

    answer = await perform(transcode, given, manifest=MANIFEST, files={FILE: clip}, state=ffmpeg)

    source = answer.value["source"]
    assert source["duration_s"] == 2.0
    assert [s["codec"] for s in source["streams"]] == ["h264", "aac"]


async def test_progress_comes_from_ffmpeg_and_rises(make: Any, ffmpeg: Path) -> None:
    long = make("-f", "lavfi", "-i", "testsrc2=duration=20:size=640x480:rate=25", *BEST, "p.mp4")
    given = {"file": FILE, "operation": "transcode"}

    answer = await perform(transcode, given, manifest=MANIFEST, files={FILE: long}, state=ffmpeg)

    steps = [told.step for told in answer.progress]
    assert len(steps) > 2 and steps == sorted(steps) and steps[-1] > 900
    assert all(told.total == 1000 for told in answer.progress)


async def test_the_sources_own_words_are_not_kept(clip: Path, ffmpeg: Path) -> None:
    given = {"file": FILE, "operation": "transcode"}

    answer = await perform(transcode, given, manifest=MANIFEST, files={FILE: clip}, state=ffmpeg)

    assert holds(clip, b"secret")
    assert b"secret" not in answer.files["transcode.mp4"]


def holds(path: Path, words: bytes) -> bool:
    return words in path.read_bytes()


async def test_sound_that_is_not_there_is_said(make: Any, ffmpeg: Path) -> None:
    silent = make(*LIFE, *BEST, "silent.mp4")
    given = {"file": FILE, "operation": "audio"}

    with pytest.raises(BadInput, match="holds no sound"):
        await perform(transcode, given, manifest=MANIFEST, files={FILE: silent}, state=ffmpeg)
