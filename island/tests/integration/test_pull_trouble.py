"""Trouble while an image is pulled: the reason is told, and the next try gets it whole."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters.images import OciImages
from archipelag_island.errors import ImageUnavailable
from archipelag_oci.settings import Settings

from .test_images import KEY, Publisher, an_island, naming, nothing, publisher, server

__all__ = ["publisher", "server"]

IMPATIENT = Settings(connect_s=1.0, silence_s=0.3, attempts_max=2, backoff_s=0.01)


async def test_a_registry_that_hangs_is_told_from_one_that_is_slow(tmp_path: Path) -> None:
    guests: list[asyncio.StreamWriter] = []

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        guests.append(writer)

    hanging = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    host, port = hanging.sockets[0].getsockname()
    island = OciImages(
        tmp_path / "i", lambda: f"{host}:{port}", bytes_max=1 << 30, settings=IMPATIENT
    )

    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ImageUnavailable, match=f"test/cargo: .*{port}"):
            await island.fetch(naming("sha256:" + "12" * 32, 10), KEY.public, nothing)

    assert len(guests) == IMPATIENT.attempts_max
    for writer in guests:
        writer.close()
    hanging.close()
    await hanging.wait_closed()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0755", "none", str(folder)]
    mounted = subprocess.run(options, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"needs root: a file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def enlarge(disk: Path) -> None:
    more = ["mount", "-o", "remount,size=64m", str(disk)]
    subprocess.run(more, check=True, capture_output=True)


@pytest.mark.parametrize("size_mb", [6, 12], ids=["in mid-unpack", "in mid-pull"])
async def test_a_full_disk_is_told_and_the_image_comes_once_there_is_room(
    publisher: Publisher, tiny_disk: Path, size_mb: int
) -> None:
    island = an_island(publisher.address, tiny_disk / "images")
    content = os.urandom(size_mb << 20)
    manifest = await publisher.image(content)

    with pytest.raises(ImageUnavailable, match=r"[Nn]o (space|room)|full"):
        await island.fetch(manifest, KEY.public, nothing)
    enlarge(tiny_disk)
    found = await island.fetch(manifest, KEY.public, nothing)

    assert found.root is not None and (found.root / "cargo").read_bytes() == content


CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from archipelag_contracts.manifest import parse_canonical
from archipelag_island.adapters import images

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

folder, registry, manifest, key, moment = sys.argv[1:]
if moment == "unpack":
    whole = images.unpack
    def unpack_and_die(*arguments, **options):
        whole(*arguments, **options)
        die()
    images.unpack = unpack_and_die
told = (lambda said: die() if said.startswith("fetching") else None) if moment == "pull" else print
island = images.OciImages(Path(folder), lambda: registry, bytes_max=1 << 30)
asyncio.run(island.fetch(parse_canonical(bytes.fromhex(manifest)), bytes.fromhex(key), told))
"""


@pytest.mark.parametrize("moment", ["pull", "unpack"])
async def test_an_island_that_was_killed_meanwhile_gets_the_whole_image_afterwards(
    publisher: Publisher, tmp_path: Path, moment: str
) -> None:
    content = os.urandom(3 << 20)
    manifest = await publisher.image(content)
    folder = tmp_path / "images"
    told = [str(folder), publisher.address, manifest.canonical().hex(), KEY.public.hex(), moment]

    child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, *told)
    async with asyncio.timeout(60):
        status = await child.wait()
    left = list((folder / "roots").glob("*"))
    found = await an_island(publisher.address, folder).fetch(manifest, KEY.public, nothing)

    assert status == -signal.SIGKILL
    assert not [path for path in left if path.suffix == ".json"], "what is unfinished is not known"
    assert found.root is not None and (found.root / "cargo").read_bytes() == content
    assert not [path for path in (folder / "roots").iterdir() if path.name.startswith(".")]
