"""No option is free text, and what does not go together is refused with a sentence."""

from pathlib import Path
from typing import Any

import pytest
from archipelag_kit import BadInput
from archipelag_kit.testing import perform
from archipelag_transcode.answers import transcode
from archipelag_transcode.asked import read
from archipelag_transcode.writing import arguments

MANIFEST = Path(__file__).parents[2] / "manifest.toml"
FILE = "file_" + "0" * 32


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"operation": "rm -rf"}, "operation"),
        ({"operation": "transcode", "container": "hls"}, "container"),
        ({"operation": "transcode", "container": "gif"}, "container: transcode writes mp4"),
        ({"operation": "transcode", "video_codec": "h264 -f null"}, "video_codec"),
        ({"operation": "transcode", "container": "webm", "video_codec": "h264"}, "webm holds vp9"),
        ({"operation": "transcode", "filter": "movie=/etc/passwd"}, "filter"),
        ({"operation": "transcode", "width": "320,drawtext=textfile=/etc/passwd"}, "width"),
        ({"operation": "transcode", "width": 321}, "width: must be even"),
        ({"operation": "transcode", "width": 8192}, "width"),
        ({"operation": "transcode", "fps": 100_000}, "fps"),
        ({"operation": "clip"}, "end: is missing"),
        ({"operation": "clip", "start": 5, "end": 5}, "end: must be after start"),
        ({"operation": "clip", "start": -1, "end": 5}, "start"),
        ({"operation": "clip", "end": 1e9}, "end"),
        ({"operation": "probe", "container": "mp4"}, "container"),
        ({"operation": "probe", "file": "../../etc/passwd"}, "file"),
        ({"operation": "probe", "file": "http://169.254.169.254/"}, "file"),
        ({"operation": "probe"}, "file: was not sent along"),
    ],
)
async def test_what_is_not_a_named_option_is_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        await perform(transcode, {"file": FILE, **said}, manifest=MANIFEST, state=Path("none"))


@pytest.mark.parametrize("operation", ["transcode", "clip", "thumbnail", "gif", "audio"])
def test_every_reading_is_fenced_and_every_writing_is_bounded(operation: str) -> None:
    asked = read({"file": FILE, "operation": operation, "end": 1.5})

    said = arguments(asked, Path("/in/a"), Path("/out/b"), threads=2, cpu_s=500)

    source = said.index("file:/in/a")
    for option in (
        "-protocol_whitelist",
        "-format_whitelist",
        "-codec_whitelist",
        "-max_pixels",
        "-t",
    ):
        assert said.index(option) < source
    assert "-fs" in said and "-timelimit" in said and said[-1] == "file:/out/b"
    assert said.count("-i") == 1
