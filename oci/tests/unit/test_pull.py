"""What lies in the cache may have been put there by another image: it is no more to be trusted for being here."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from archipelag_oci import descriptor, media, strict
from archipelag_oci.cache import BlobCache
from archipelag_oci.descriptor import Descriptor, this_machine
from archipelag_oci.errors import OciError
from archipelag_oci.manifests import MANIFEST_BYTES_MAX, ImageManifest
from archipelag_oci.pull import pull_image
from archipelag_oci.reference import parse
from archipelag_oci.registry import Registry

HUGE_BYTES = MANIFEST_BYTES_MAX + 1


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of every file that was read into memory whole."""
    sizes: list[int] = []
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        data = real(path)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    return sizes


@pytest.fixture
def cache(tmp_path: Path) -> BlobCache:
    return BlobCache(tmp_path / "cache", 1 << 30)


def layer_of_another(cache: BlobCache) -> str:
    """A layer that some image brought here, which is larger than any manifest may be."""
    data = bytes(HUGE_BYTES)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    cache.put(digest, data)
    return digest


async def pulled(cache: BlobCache, manifest: bytes) -> OciError:
    top = descriptor.of(media.MANIFEST, manifest)
    cache.put(top.digest, manifest)
    async with Registry() as registry:
        with pytest.raises(OciError) as told:
            await pull_image(registry, parse(f"r.example/a@{top.digest}"), cache, this_machine())
    return told.value


async def test_a_layer_that_an_index_calls_a_manifest_is_not_read_into_memory(
    cache: BlobCache, read: list[int]
) -> None:
    digest = layer_of_another(cache)
    entry: dict[str, Any] = {
        "mediaType": media.MANIFEST,
        "digest": digest,
        "size": 500,
        "platform": {"os": this_machine().os, "architecture": this_machine().architecture},
    }
    index = {"schemaVersion": 2, "mediaType": media.INDEX, "manifests": [entry]}

    told = await pulled(cache, strict.canonical(index))

    assert "manifest" in str(told)
    assert max(read) < HUGE_BYTES


async def test_a_layer_that_a_manifest_calls_its_config_is_not_read_into_memory(
    cache: BlobCache, read: list[int]
) -> None:
    config = Descriptor(media.CONFIG, layer_of_another(cache), 500)
    manifest = ImageManifest(media.MANIFEST, config, ())

    told = await pulled(cache, manifest.encode())

    assert "config" in str(told)
    assert max(read) < HUGE_BYTES
