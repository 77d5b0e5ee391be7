"""Model files as an Island gets them from a registry: by digest, gone on with where it broke, checked by their hash."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from archipelag_contracts.manifest import Manifest, Model
from archipelag_island.adapters.images import OciImages
from archipelag_island.adapters.models import FetchedModels
from archipelag_island.errors import ModelUnavailable
from archipelag_island.testing.builders import the_echo_manifest
from archipelag_oci import media
from archipelag_oci.push import push_artifact
from archipelag_oci.reference import parse
from archipelag_oci.registry import Registry

from .test_images import server  # noqa: F401 - a fixture

WEIGHTS = os.urandom(3 << 20)
RANGE = re.compile(rb"[Rr]ange: bytes=(\d+)-")


class CuttingLine:
    """Between an Island and its registry. Cuts the answers to `cuts` bytes, one after the other, then none."""

    def __init__(self, registry: str, cuts: list[int]) -> None:
        self._registry = registry
        self._cuts = cuts
        self.begun_at: list[int] = []
        self._passing: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._passing.append(asyncio.create_task(self._pass(reader, writer)))

        listening = await asyncio.start_server(connected, "127.0.0.1")
        try:
            yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        finally:
            listening.close()
            await asyncio.gather(*self._passing)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._registry.split(":")
        behind, onward = await asyncio.open_connection(host, int(port))
        there = asyncio.create_task(self._asked(reader, onward))
        with contextlib.suppress(ConnectionError):
            passed = 0
            while data := await behind.read(1 << 16):
                writer.write(data)
                await writer.drain()
                passed += len(data)
                if self._cuts and passed > self._cuts[0]:
                    del self._cuts[0]
                    break
        for one in (writer, onward):
            one.close()
            with contextlib.suppress(ConnectionError):
                await one.wait_closed()
        await there

    async def _asked(self, reader: asyncio.StreamReader, onward: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                self.begun_at += [int(at) for at in RANGE.findall(data)]
                onward.write(data)
            onward.close()


async def pushed(address: str, data: bytes = WEIGHTS) -> Manifest:
    async with Registry() as registry:
        where = parse(f"{address}/test/weights:latest")
        digest = await push_artifact(registry, where, data, media.MODEL, title="m.gguf")
    sha256 = hashlib.sha256(data).hexdigest()
    return naming(f"oci:test/weights@{digest}", sha256)


def naming(source: str, sha256: str) -> Manifest:
    return the_echo_manifest(model=Model("some-model", "m.gguf", sha256, source))


def models(address: str, folder: Path) -> FetchedModels:
    images = OciImages(folder / "images", lambda: address, bytes_max=1 << 30)
    return FetchedModels(folder / "models", pull=images.fetch_model)


async def test_a_model_comes_without_any_engine_being_installed(
    server: tuple[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    manifest = await pushed(server[0])

    path = await models(server[0], tmp_path).fetch("", manifest)
    again = await models("127.0.0.1:1", tmp_path).fetch("", manifest)

    assert path == again == tmp_path / "models" / "m.gguf"
    assert path.read_bytes() == WEIGHTS
    assert path.stat().st_mode & 0o777 == 0o444, "a sandbox's user reads it too"


async def test_a_broken_download_goes_on_where_it_ended(
    server: tuple[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    manifest = await pushed(server[0])
    line = CuttingLine(server[0], [1 << 20])

    async with line.open() as address:
        path = await models(address, tmp_path).fetch("", manifest)

    assert path.read_bytes() == WEIGHTS
    assert [at > 1 << 19 for at in line.begun_at] == [True]


async def test_another_hash_than_the_manifests_is_refused(
    server: tuple[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    manifest = await pushed(server[0])
    assert manifest.model is not None
    wrong = replace(manifest, model=replace(manifest.model, sha256="0" * 64))

    with pytest.raises(ModelUnavailable, match="SHA-256"):
        await models(server[0], tmp_path).fetch("", wrong)

    assert [path for path in (tmp_path / "models").rglob("*") if path.is_file()] == []


async def test_a_models_file_is_never_another_cargos_under_the_same_name(
    server: tuple[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    """Between a check and an engine's start there is time for somebody else's weights to take the name."""
    mine, theirs = await pushed(server[0]), await pushed(server[0], b"theirs" * 1000)
    here = models(server[0], tmp_path)

    checked = await here.fetch("", mine)
    other = await here.fetch("", theirs)

    assert checked.read_bytes() == WEIGHTS and other.read_bytes() == b"theirs" * 1000
    away = models("127.0.0.1:1", tmp_path)
    assert (await away.fetch("", mine), await away.fetch("", theirs)) == (checked, other)


async def test_other_bytes_than_the_digest_says_are_refused(
    server: tuple[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    address, store = server
    data = os.urandom(1 << 16)
    manifest = await pushed(address, data)
    (blob,) = (path for path in store.rglob("*") if path.is_file() and path.read_bytes() == data)
    blob.chmod(0o644)
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    with pytest.raises(ModelUnavailable, match="sha256"):
        await models(address, tmp_path).fetch("", manifest)

    assert not (tmp_path / "models" / "m.gguf").exists()


@pytest.mark.parametrize("source", ["oci:test/weights:latest", "oci:", "oci:test/weights@sha256:0"])
async def test_a_source_without_a_digest_is_refused(
    server: tuple[str, Path],  # noqa: F811
    tmp_path: Path,
    source: str,
) -> None:
    await pushed(server[0])

    with pytest.raises(ModelUnavailable):
        await models(server[0], tmp_path).fetch("", naming(source, "0" * 64))
