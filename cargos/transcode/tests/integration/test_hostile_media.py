"""Media made to harm whoever reads it: each is refused or bounded, with a sentence, and nothing else is read.

Each fence is also shown to be needed: without it FFmpeg does what the file says.
"""

import asyncio
import os
import random
import subprocess
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from archipelag_kit import BadInput
from archipelag_kit.testing import perform
from archipelag_transcode import ffmpeg as running
from archipelag_transcode import reading
from archipelag_transcode.answers import transcode

MANIFEST = Path(__file__).parents[2] / "manifest.toml"
FILE = "file_" + "2" * 32
QUICK = ("-c:v", "libx264", "-preset", "ultrafast")


async def tried(ffmpeg: Path, path: Path, **asked: Any) -> Any:
    given = {"file": FILE, "operation": "transcode", **asked}
    return await perform(transcode, given, manifest=MANIFEST, files={FILE: path}, state=ffmpeg)


def reads_without_fence(ffmpeg: Path, path: Path, *options: str) -> bool:
    """Whether FFmpeg as it comes would follow the file."""
    command = [str(ffmpeg), "-nostdin", *options, "-i", str(path), "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return done.returncode == 0


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Counts who asks."""
    asked: list[str] = []

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Door) as door:
        thread = Thread(target=door.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{door.server_port}/secret.ts", asked
        door.shutdown()
        thread.join()


def playlist(*targets: str) -> str:
    entries = "".join(f"#EXTINF:1,\n{target}\n" for target in targets)
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n{entries}#EXT-X-ENDLIST\n"


async def test_a_playlist_does_not_read_another_file(
    make: Any, ffmpeg: Path, tmp_path: Path
) -> None:
    secret = make("-f", "lavfi", "-i", "testsrc2=duration=1", *QUICK, "secret.ts")
    (tmp_path / "list.m3u8").write_text(playlist(str(secret)))

    assert reads_without_fence(ffmpeg, tmp_path / "list.m3u8", "-extension_picky", "0", "-f", "hls")
    with pytest.raises(BadInput, match="can name other files"):
        await tried(ffmpeg, tmp_path / "list.m3u8")


async def test_a_playlist_makes_no_request(
    server: tuple[str, list[str]], ffmpeg: Path, tmp_path: Path
) -> None:
    address, asked = server
    (tmp_path / "list.m3u8").write_text(playlist(address))

    with pytest.raises(BadInput, match="can name other files"):
        await tried(ffmpeg, tmp_path / "list.m3u8")
    assert not asked

    whitelist = ("-protocol_whitelist", "file,http,tcp", "-extension_picky", "0", "-f", "hls")
    reads_without_fence(ffmpeg, tmp_path / "list.m3u8", *whitelist)
    assert asked


async def test_a_playlist_inside_of_an_avi_is_not_followed(
    make: Any, ffmpeg: Path, tmp_path: Path
) -> None:
    """The trick of 2017: the head of an AVI, then a playlist as its subtitles."""
    avi = make("-f", "lavfi", "-i", "testsrc2=duration=1", "-c:v", "mpeg4", "head.avi").read_bytes()
    (tmp_path / FILE).write_bytes(avi[:-2_000] + b"GAB2" + playlist("/etc/passwd").encode())

    answer = await tried(ffmpeg, tmp_path / FILE, audio_codec="none")

    assert all(stream["kind"] != "subtitle" for stream in answer.value["source"]["streams"])
    assert b"root:" not in answer.files["transcode.mp4"]


@pytest.mark.parametrize(
    "content",
    [
        "ffconcat version 1.0\nfile /etc/passwd\n",
        "[Script Info]\nTitle: x\n[Events]\nDialogue: 0,0:00:00.00,0:00:01.00,,,,0,0,,a\n",
        "1\n00:00:00,000 --> 00:00:01,000\nhello\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        '<?xml version="1.0"?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>',
        '<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "RTSPtext\nrtsp://127.0.0.1/\n",
        "root:x:0:0:root:/root:/bin/bash\n" * 40,
    ],
    ids=["concat", "ass", "srt", "sdp", "dash", "svg", "rtsp", "text"],
)
async def test_a_text_that_names_files_is_refused(
    content: str, ffmpeg: Path, tmp_path: Path
) -> None:
    (tmp_path / FILE).write_text(content)

    with pytest.raises(BadInput, match=r"^file: "):
        await tried(ffmpeg, tmp_path / FILE)


def png_of(width: int, height: int) -> bytes:
    """A few hundred bytes that say they are a picture of any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + check

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    rows = zlib.compress(bytes(1 << 16), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [30_000, 65_535, (1 << 31) - 1])
async def test_a_picture_of_any_size_is_refused_before_it_takes_memory(
    side: int, ffmpeg: Path, tmp_path: Path
) -> None:
    (tmp_path / FILE).write_bytes(png_of(side, side))

    with pytest.raises(BadInput, match=r"^file: "):
        await tried(ffmpeg, tmp_path / FILE, operation="thumbnail")


async def test_two_pictures_an_hour_apart_do_not_become_an_hours_pictures(
    make: Any, ffmpeg: Path
) -> None:
    apart = make(
        *("-f", "lavfi", "-i", "testsrc2=duration=0.2:size=64x64:rate=10"),
        *("-vf", "setpts=N*3600/TB", "-fps_mode", "passthrough", *QUICK, "apart.mkv"),
    )

    answer = await tried(ffmpeg, apart)

    assert len(answer.files["transcode.mp4"]) < 100_000


async def test_a_result_that_grows_too_large_is_refused(
    make: Any, ffmpeg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = make(
        *("-f", "lavfi", "-i", "nullsrc=size=320x240:duration=3:rate=25,geq=random(1)*255:128:128"),
        *(*QUICK, "noise.mp4"),
    )
    monkeypatch.setattr("archipelag_transcode.writing.OUTPUT_BYTES_MAX", 200_000)

    with pytest.raises(BadInput, match="would have more than"):
        await tried(ffmpeg, noise, quality=100)


async def test_random_damage_ends_in_a_file_or_a_sentence(
    clip: Path, ffmpeg: Path, tmp_path: Path
) -> None:
    whole = content_of(clip)
    for seed in range(6):
        chance = random.Random(seed)
        broken = bytearray(whole)
        for _ in range(40):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        path = written(
            tmp_path / f"{seed}", broken[: chance.randrange(len(broken) // 2, len(broken))]
        )
        try:
            told = str(list((await tried(ffmpeg, path, operation="thumbnail")).files))
        except BadInput as why:
            told = str(why)
        assert told and "/" not in told


@pytest.mark.parametrize("content", [b"", b"\x00" * 100_000, os.urandom(100_000)])
async def test_what_is_no_media_is_refused(content: bytes, ffmpeg: Path, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)

    with pytest.raises(BadInput, match=r"^file: "):
        await tried(ffmpeg, tmp_path / FILE)


async def test_a_run_that_nobody_waits_for_ends_its_ffmpeg(ffmpeg: Path, tmp_path: Path) -> None:
    endless = ["-f", "lavfi", "-re", "-i", "testsrc2", "-progress", "pipe:1", "-f", "null", "-"]
    begun = asyncio.Event()
    task = asyncio.create_task(running.run(ffmpeg, endless, lambda _seconds: begun.set(), tmp_path))
    await begun.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not children()


async def test_megabytes_of_complaints_are_not_kept(tmp_path: Path) -> None:
    shout = tmp_path / "shout"
    shout.write_text("#!/bin/sh\necho first >&2\nhead -c 9000000 /dev/zero >&2\necho last >&2\n")
    shout.chmod(0o755)

    ended = await running.run(shout, [], lambda _seconds: None, tmp_path)

    assert len(ended.words) < 1 << 20
    assert ended.words.startswith("first") and ended.words.endswith("last\n")


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def children() -> list[int]:
    """FFmpegs of this process; one that was just killed may take a moment to be gone."""
    for _ in range(50):
        said = subprocess.run(
            ["/bin/ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        left = [int(line.split()[0]) for line in said.splitlines() if "ffmpeg" in line]
        if not left:
            return []
        time.sleep(0.05)
    return left


def test_the_fences_are_options_that_this_ffmpeg_knows(clip: Path, ffmpeg: Path) -> None:
    command = [str(ffmpeg), "-nostdin", *reading.options(), "-i", reading.named(clip)]

    done = subprocess.run([*command, "-f", "null", "-"], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
