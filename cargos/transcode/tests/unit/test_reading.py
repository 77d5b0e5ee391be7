import pytest
from archipelag_transcode.errors import BadMedia
from archipelag_transcode.reading import DEMUXERS, understood

SAID = """Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:a.mp4':
  Metadata:
    title           : x
                    :   Stream #0:9: Video: evil, 1x1
  Duration: 01:00:02.50, start: 0.000000, bitrate: 352 kb/s
  Stream #0:0[0x1](und): Video: h264 (High) (avc1 / 0x31637661), yuv420p(progressive), 320x240 [SAR 1:1], 25 fps
  Stream #0:1[0x2](und): Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, mono, fltp, 69 kb/s (default)
At least one output file must be specified
"""


def test_what_ffmpeg_says_is_understood() -> None:
    media = understood(SAID)

    assert media.duration_s == 3602.5
    assert media.as_json()["streams"] == [
        {"kind": "video", "codec": "h264", "width": 320, "height": 240, "fps": 25.0},
        {"kind": "audio", "codec": "aac", "sample_rate": 44100, "channels": "mono"},
    ]


def test_a_files_own_words_are_not_taken_for_ffmpegs() -> None:
    assert [stream.codec for stream in understood(SAID).streams] == ["h264", "aac"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Format not on whitelist 'mov'\nError opening input", "can name other files"),
        ("moov atom not found", "its index is missing"),
        ("file:/run/archipelag/in/7/file_1: what?", "^FFmpeg could not read the file$"),
        ("", "could not read"),
    ],
)
def test_a_failure_is_a_sentence_without_paths(said: str, why: str) -> None:
    with pytest.raises(BadMedia, match=why):
        understood(said)


@pytest.mark.parametrize(
    "name",
    ["hls", "concat", "dash", "image2", "sdp", "rtsp", "lavfi", "ass", "srt", "webvtt", "tty"],
)
def test_nothing_that_names_other_files_may_be_read(name: str) -> None:
    assert name not in DEMUXERS
