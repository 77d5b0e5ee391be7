"""Images as an Island gets them: from a real registry, by digest, with the publisher's signature, or not at all."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.manifest import Image, Manifest
from archipelag_embedded.registry import Registry as RegistryServer
from archipelag_island.adapters.images import OciImages
from archipelag_island.adapters.probe.disk import taken_bytes
from archipelag_island.errors import ImageUnavailable
from archipelag_island.testing.builders import the_echo_manifest
from archipelag_oci import media, signatures
from archipelag_oci.build import from_files
from archipelag_oci.image import File
from archipelag_oci.push import push_artifact, push_image
from archipelag_oci.reference import parse
from archipelag_oci.registry import Registry

KEY = CosignKey.generate()
OTHER = CosignKey.generate()


def nothing(_: str) -> None:
    """Nobody asked."""


@dataclass
class Publisher:
    """Pushes images and signs them."""

    address: str
    store: Path
    work: Path
    registry: Registry = field(default_factory=Registry)
    count: int = 0

    async def image(
        self, content: bytes = b"#!/bin/true\n", *, key: CosignKey | None = KEY
    ) -> Manifest:
        self.count += 1
        folder = self.work / str(self.count)
        folder.mkdir()
        built = from_files(
            [File("cargo", content, mode=0o755)], folder, entrypoint=("/cargo", "serve")
        )
        where = parse(f"{self.address}/test/cargo:latest")
        digest = await push_image(self.registry, where, built)
        if key is not None:
            await signatures.sign(self.registry, where.at(digest), key)
        return naming(digest, max(1, sum(layer.descriptor.size for layer in built.layers)))

    async def module(self, data: bytes, *, key: CosignKey | None = KEY) -> Manifest:
        where = parse(f"{self.address}/test/module:latest")
        digest = await push_artifact(self.registry, where, data, media.WASM, media.WASM_CONFIG)
        if key is not None:
            await signatures.sign(self.registry, where.at(digest), key)
        image = Image("test/module", digest, len(data))
        return the_echo_manifest(runtime="wasm", image=image)


def naming(digest: str, size_bytes: int) -> Manifest:
    image = Image("test/cargo", digest, size_bytes)
    return the_echo_manifest(runtime="oci", image=image)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("registry")
    server = RegistryServer(folder / "store", log=folder / "log")
    yield server.start(), server.store
    server.stop()


@pytest.fixture
async def publisher(server: tuple[str, Path], tmp_path: Path) -> AsyncIterator[Publisher]:
    work = tmp_path / "work"
    work.mkdir()
    made = Publisher(*server, work)
    async with made.registry:
        yield made


@pytest.fixture
def images(server: tuple[str, Path], tmp_path: Path) -> OciImages:
    return an_island(server[0], tmp_path / "images")


def an_island(address: str, folder: Path, bytes_max: int = 1 << 30) -> OciImages:
    return OciImages(folder, lambda: address, bytes_max=bytes_max)


async def test_an_image_comes_signed_and_is_unpacked_with_its_command(
    publisher: Publisher, images: OciImages
) -> None:
    said: list[str] = []

    found = await images.fetch(await publisher.image(), KEY.public, said.append)

    assert found.root is not None and found.command == ("/cargo", "serve")
    assert (found.root / "cargo").read_bytes() == b"#!/bin/true\n"
    assert (found.root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert any("signature" in one for one in said) and any("unpacking" in one for one in said)


async def test_what_is_here_needs_no_registry(publisher: Publisher, tmp_path: Path) -> None:
    manifest = await publisher.image(b"warm")
    await an_island(publisher.address, tmp_path / "i").fetch(manifest, KEY.public, nothing)

    again = await an_island("127.0.0.1:1", tmp_path / "i").fetch(manifest, KEY.public, nothing)

    assert again.root is not None and (again.root / "cargo").read_bytes() == b"warm"


async def test_another_publishers_word_is_asked_for_anew(
    publisher: Publisher, images: OciImages
) -> None:
    """What one publisher signed is not another's, though it lies here already."""
    manifest = await publisher.image(b"theirs")
    await images.fetch(manifest, KEY.public, nothing)

    with pytest.raises(ImageUnavailable, match="trusted key"):
        await images.fetch(manifest, OTHER.public, nothing)


@pytest.mark.parametrize("wrong", ["unsigned", "other key", "no key"])
async def test_what_the_publisher_did_not_sign_is_refused(
    publisher: Publisher, images: OciImages, tmp_path: Path, wrong: str
) -> None:
    signer = {"unsigned": None, "other key": OTHER, "no key": KEY}[wrong]
    manifest = await publisher.image(wrong.encode(), key=signer)

    with pytest.raises(ImageUnavailable):
        await images.fetch(manifest, b"" if wrong == "no key" else KEY.public, nothing)

    assert not list((tmp_path / "images").glob("roots/*"))


async def test_a_tampered_layer_is_refused(
    publisher: Publisher, images: OciImages, tmp_path: Path
) -> None:
    manifest = await publisher.image(b"before" * 10)
    assert manifest.image is not None
    layers = sorted(
        (path for path in publisher.store.rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_mtime_ns,
    )
    for path in layers:
        data = path.read_bytes()
        if data[:2] in (b"\x1f\x8b", b"\x28\xb5"):
            path.chmod(0o644)
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    with pytest.raises(ImageUnavailable, match="sha256"):
        await images.fetch(manifest, KEY.public, nothing)

    assert not list((tmp_path / "images").glob("roots/*"))


async def test_an_image_larger_than_its_manifest_says_is_refused(
    publisher: Publisher, images: OciImages
) -> None:
    manifest = await publisher.image(os.urandom(3 << 20))
    assert manifest.image is not None
    small = replace(manifest, image=replace(manifest.image, size_bytes=1000))

    with pytest.raises(ImageUnavailable, match="bytes to pull"):
        await images.fetch(small, KEY.public, nothing)


async def test_a_digest_that_is_not_there_is_told(images: OciImages) -> None:
    with pytest.raises(ImageUnavailable, match="test/cargo"):
        await images.fetch(naming("sha256:" + "12" * 32, 10), KEY.public, nothing)


async def test_a_module_is_one_file(publisher: Publisher, images: OciImages) -> None:
    manifest = await publisher.module(b"\0asm\x01\0\0\0")

    found = await images.fetch(manifest, KEY.public, nothing)

    assert found.wasm is not None and found.wasm.read_bytes() == b"\0asm\x01\0\0\0"
    assert found.root is None


async def test_an_image_that_is_no_module_is_refused(
    publisher: Publisher, images: OciImages
) -> None:
    manifest = await publisher.image(b"a root")

    with pytest.raises(ImageUnavailable):
        await images.fetch(replace(manifest, runtime="wasm"), KEY.public, nothing)


async def test_room_is_made_from_what_no_catalogue_has(
    publisher: Publisher, tmp_path: Path
) -> None:
    island = an_island(publisher.address, tmp_path / "i", bytes_max=11 << 20)
    first, second = [await publisher.image(os.urandom(3 << 20)) for _ in range(2)]
    await island.fetch(first, KEY.public, nothing)

    island.keep([first])
    with pytest.raises(ImageUnavailable, match="IMAGES_MB_MAX"):
        await island.fetch(second, KEY.public, nothing)
    island.keep([second])
    found = await island.fetch(second, KEY.public, nothing)

    assert found.root is not None and found.root.is_dir()
    assert len(list((tmp_path / "i" / "roots").glob("*.json"))) == 1


async def test_roots_and_what_they_were_made_from_share_one_bound(
    publisher: Publisher, tmp_path: Path
) -> None:
    bytes_max = 16 << 20
    island = an_island(publisher.address, tmp_path / "i", bytes_max=bytes_max)
    made = [await publisher.image(os.urandom(3 << 20)) for _ in range(3)]
    island.keep(made)

    for one in made:
        await island.fetch(one, KEY.public, nothing)

        assert taken_bytes((tmp_path / "i",)) <= bytes_max
    assert len(list((tmp_path / "i" / "roots").glob("*.json"))) == 3


async def test_an_image_may_not_become_larger_than_the_room_that_is_left(
    publisher: Publisher, tmp_path: Path
) -> None:
    """Zeros: nearly nothing in the registry, and forty megabytes here."""
    island = an_island(publisher.address, tmp_path / "i", bytes_max=32 << 20)

    with pytest.raises(ImageUnavailable, match="unpack"):
        await island.fetch(await publisher.image(bytes(40 << 20)), KEY.public, nothing)

    assert not list((tmp_path / "i" / "roots").glob("*"))


async def test_what_was_left_half_done_is_begun_anew(
    publisher: Publisher, images: OciImages, tmp_path: Path
) -> None:
    manifest = await publisher.image(b"whole")
    assert manifest.image is not None
    half = tmp_path / "images" / "roots" / manifest.image.digest.replace(":", "-")
    half.mkdir(parents=True)
    (half / "cargo").write_bytes(b"half")

    found = await images.fetch(manifest, KEY.public, nothing)

    assert found.root is not None and (found.root / "cargo").read_bytes() == b"whole"


async def test_a_disk_that_may_take_no_more_says_so(publisher: Publisher, tmp_path: Path) -> None:
    full = OciImages(
        tmp_path / "i", lambda: publisher.address, bytes_max=1 << 30, over=lambda _: "no more room"
    )

    with pytest.raises(ImageUnavailable, match="no more room"):
        await full.fetch(await publisher.image(b"too much"), KEY.public, nothing)
