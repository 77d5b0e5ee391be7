"""What was changed between its publisher and an Island is refused there, with the cause, and nothing is left of
it; the next good one is served."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest
from archipelag_contracts import cosign
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.errors import BadManifest
from archipelag_contracts.manifest import Image, Manifest, parse_toml
from archipelag_island.adapters.images import OciImages
from archipelag_island.errors import ImageUnavailable
from archipelag_island.testing.builders import the_echo_manifest
from archipelag_oci import media, signatures
from archipelag_oci.build import from_files
from archipelag_oci.image import File
from archipelag_oci.push import push_artifact, push_image
from archipelag_oci.reference import Reference, parse
from archipelag_oci.registry import Registry
from archipelag_oci.settings import Settings

from .publisher import ROOT, Publisher

OTHER: Final = CosignKey.generate()
# More than an Island forgives a manifest that counts only layers.
LARGE: Final = 2 << 20


@dataclass
class Thing:
    """An image or a module in the registry, not signed yet, and where its parts lie."""

    publisher: Publisher
    registry: Registry
    reference: Reference
    manifest: Manifest
    layer: str
    config: str

    async def sign(self, key: CosignKey | None = None) -> signatures.Signature:
        return await signatures.sign(self.registry, self.reference, key or self.publisher.key)

    async def attach(self, payload: bytes, signature: bytes) -> None:
        await signatures.attach(self.registry, self.reference, payload, signature)

    @property
    def payload(self) -> bytes:
        return cosign.payload(self.reference.name, self.reference.digest)

    def blob(self, digest: str) -> Path:
        return self.publisher.store / "blobs" / digest.removeprefix("sha256:")

    def stored_manifest(self) -> Path:
        name = self.reference.digest.removeprefix("sha256:")
        [found] = (self.publisher.store / "repositories").glob(f"**/_manifests/{name}")
        return found


Fault = Callable[[Thing, Thing], Awaitable[None]]


async def changed_layer(thing: Thing, other: Thing) -> None:
    await thing.sign()
    flip(thing.blob(thing.layer))


async def cut_layer(thing: Thing, other: Thing) -> None:
    await thing.sign()
    os.truncate(thing.blob(thing.layer), LARGE // 2)


async def other_layer(thing: Thing, other: Thing) -> None:
    """A good layer, but another's."""
    await thing.sign()
    thing.blob(thing.layer).write_bytes(other.blob(other.layer).read_bytes())


async def changed_config(thing: Thing, other: Thing) -> None:
    await thing.sign()
    flip(thing.blob(thing.config))


async def changed_manifest(thing: Thing, other: Thing) -> None:
    await thing.sign()
    flip(thing.stored_manifest())


async def other_manifest(thing: Thing, other: Thing) -> None:
    """What else the publisher signed, served under this digest."""
    await thing.sign()
    await other.sign()
    thing.stored_manifest().write_bytes(other.stored_manifest().read_bytes())


async def changed_payload(thing: Thing, other: Thing) -> None:
    await thing.sign()
    flip(thing.blob("sha256:" + hashlib.sha256(thing.payload).hexdigest()))


async def payload_made_anew(thing: Thing, other: Thing) -> None:
    """The document names the right digest, but it is not what the publisher signed."""
    signed = await other.sign()
    await thing.attach(thing.payload, signed.signature)


async def changed_signature(thing: Thing, other: Thing) -> None:
    signature = thing.publisher.key.sign(thing.payload)
    await thing.attach(thing.payload, signature[:-1] + bytes([signature[-1] ^ 1]))


async def right_signature_on_another_digest(thing: Thing, other: Thing) -> None:
    signed = await other.sign()
    await thing.attach(signed.payload, signed.signature)


async def other_key(thing: Thing, other: Thing) -> None:
    await thing.sign(OTHER)


async def unsigned(thing: Thing, other: Thing) -> None:
    del thing, other


async def larger_than_said(thing: Thing, other: Thing) -> None:
    await thing.sign()
    assert thing.manifest.image is not None
    small = replace(thing.manifest.image, size_bytes=1)
    thing.manifest = replace(thing.manifest, image=small)


async def tag(thing: Thing, other: Thing) -> None:
    await thing.sign()
    assert thing.manifest.image is not None
    thing.manifest = replace(thing.manifest, image=replace(thing.manifest.image, digest="latest"))


FAULTS: Final[dict[Fault, str]] = {
    changed_layer: "sha256",
    cut_layer: "bytes|sha256",
    other_layer: "bytes|sha256",
    changed_config: "sha256",
    changed_manifest: "sha256",
    other_manifest: "sha256",
    changed_payload: "sha256",
    payload_made_anew: "trusted key over this digest",
    changed_signature: "trusted key over this digest",
    right_signature_on_another_digest: "trusted key over this digest",
    other_key: "trusted key over this digest",
    unsigned: "has no signature",
    larger_than_said: "bytes to pull",
    tag: "digest",
}
"""What is done, and what the Island says of it."""


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    async with Registry() as made:
        yield made


async def an_image(publisher: Publisher, registry: Registry, folder: Path) -> Thing:
    folder.mkdir()  # noqa: ASYNC240
    files = [File("cargo", os.urandom(LARGE), mode=0o755)]
    built = from_files(files, folder, entrypoint=("/cargo",))
    where = parse(f"{publisher.address}/test/image:latest")
    digest = await push_image(registry, where, built)
    image = Image("test/image", digest, built.size_bytes)
    config = "sha256:" + hashlib.sha256(built.config).hexdigest()
    manifest = the_echo_manifest(runtime="oci", image=image)
    layer = built.layers[0].descriptor.digest
    return Thing(publisher, registry, where.at(digest), manifest, layer, config)


async def a_module(publisher: Publisher, registry: Registry, folder: Path) -> Thing:
    del folder
    data = b"\0asm\x01\0\0\0" + os.urandom(LARGE)
    where = parse(f"{publisher.address}/test/module:latest")
    digest = await push_artifact(registry, where, data, media.WASM, media.WASM_CONFIG)
    manifest = the_echo_manifest(runtime="wasm", image=Image("test/module", digest, len(data)))
    layer = "sha256:" + hashlib.sha256(data).hexdigest()
    return Thing(publisher, registry, where.at(digest), manifest, layer, "")


MAKERS: Final = {"image": an_image, "module": a_module}
# The config of every module is the same two bytes, which no Island asks for.
CASES: Final = [
    (path, fault)
    for path in MAKERS
    for fault in FAULTS
    if (path, fault) != ("module", changed_config)
]


@pytest.mark.parametrize(
    ("path", "fault"), CASES, ids=[f"{path}-{fault.__name__}" for path, fault in CASES]
)
async def test_it_is_refused_and_the_next_good_one_is_served(
    path: str, fault: Fault, publisher: Publisher, registry: Registry, tmp_path: Path
) -> None:
    thing, other, good = [
        await MAKERS[path](publisher, registry, tmp_path / name) for name in ("a", "b", "c")
    ]
    await fault(thing, other)
    await good.sign()
    island = an_island(publisher, tmp_path / "island")

    with pytest.raises(ImageUnavailable, match=FAULTS[fault]):
        await island.fetch(thing.manifest, publisher.key.public, nothing)

    assert not list((tmp_path / "island").glob("roots/*"))
    assert_only_what_its_name_says(tmp_path / "island" / "blobs")
    found = await island.fetch(good.manifest, publisher.key.public, nothing)
    assert (found.root is not None) == (path == "image")
    assert (found.wasm is not None) == (path == "module")


async def test_a_registry_that_was_repaired_is_believed_again(
    publisher: Publisher, registry: Registry, tmp_path: Path
) -> None:
    """Whatever came of the wrong bytes is not gone on with."""
    thing = await an_image(publisher, registry, tmp_path / "a")
    await changed_layer(thing, thing)
    island = an_island(publisher, tmp_path / "island")
    with pytest.raises(ImageUnavailable, match="sha256"):
        await island.fetch(thing.manifest, publisher.key.public, nothing)

    flip(thing.blob(thing.layer))
    found = await island.fetch(thing.manifest, publisher.key.public, nothing)

    assert found.root is not None and (found.root / "cargo").stat().st_size == LARGE


def test_a_manifest_cannot_name_a_tag() -> None:
    text = (ROOT / "cargos" / "wasm" / "hash" / "manifest.toml").read_text()

    with pytest.raises(BadManifest, match=r"image\.digest"):
        parse_toml(f'{text}\n[image]\nrepository = "x"\ndigest = "latest"\nsize_bytes = 9\n')


def an_island(publisher: Publisher, folder: Path) -> OciImages:
    settings = Settings(backoff_s=0.01)
    return OciImages(folder, lambda: publisher.address, bytes_max=1 << 30, settings=settings)


def nothing(_: str) -> None:
    """Nobody asked."""


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def assert_only_what_its_name_says(folder: Path) -> None:
    """A blob becomes visible when it is whole and checked: none that was tampered with stays for the next pull."""
    for path in folder.glob("blobs/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
