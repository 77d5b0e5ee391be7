"""Images from an OCI registry: the publisher's signature first, then bytes by digest, then a root without surprises."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archipelag_contracts.cosign import fingerprint
from archipelag_contracts.manifest import Image, Manifest
from archipelag_oci import media, reference, signatures
from archipelag_oci.cache import BlobCache
from archipelag_oci.descriptor import Platform
from archipelag_oci.errors import OciError
from archipelag_oci.pull import Limits, pull_artifact, pull_image
from archipelag_oci.reference import Reference
from archipelag_oci.registry import Registry
from archipelag_oci.settings import Settings
from archipelag_oci.unpack import UnpackLimits, unpack

from archipelag_island.adapters.identity import write_private
from archipelag_island.errors import ImageUnavailable, ModelUnavailable
from archipelag_island.services.ports import Unpacked

log = logging.getLogger(__name__)

ROOT_BYTES_PER_COMPRESSED: Final = 20
"""An image may be unpacked to so many times what its manifest says that it is."""
ROOT_BYTES_MIN: Final = 256 << 20
FILES_MAX: Final = 200_000
WASM_BYTES_MAX: Final = 64 << 20
SPARE_BYTES: Final = 1 << 20
"""So much more than its manifest says may be pulled, as some count the layers only."""
TELL_S: Final = 0.5

_ARCHITECTURES: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Record:
    """What lies unpacked here, whose signature was found on it, and how it is started."""

    publisher: str
    """Fingerprint of the key."""
    size_bytes: int
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    working_dir: str = "/"


class OciImages:
    """Implements `Images`; roots and blobs together take `bytes_max`.

    `over` says why so many bytes more may not be put on the disk; None: they may.
    """

    def __init__(
        self,
        folder: Path,
        registry: Callable[[], str],
        *,
        bytes_max: int,
        settings: Settings | None = None,
        over: Callable[[int], str | None] = lambda _: None,
        uid: int = -1,
    ) -> None:
        self._roots = folder / "roots"
        self._registry = registry
        self._bytes_max = bytes_max
        self._settings = settings or Settings()
        self._over = over
        self._owner = (uid, uid) if uid >= 0 else None
        self._blobs = folder / "blobs"
        self._turn = asyncio.Lock()
        self._kept: frozenset[str] = frozenset()

    async def fetch(
        self, manifest: Manifest, publisher: bytes, told: Callable[[str], None]
    ) -> Unpacked:
        image = manifest.image
        assert image is not None
        if not publisher:
            raise ImageUnavailable("its catalogue entry names no key that its image is signed with")
        # One at a time: two Cargos may share layers, and a line has one width.
        async with self._turn:
            try:
                return await self._fetch(image, publisher, told, wasm=manifest.runtime == "wasm")
            except OciError as error:
                raise ImageUnavailable(f"{image.repository}: {error}") from error
            except OSError as error:
                raise ImageUnavailable(
                    f"{image.repository} cannot be kept in {self._roots.parent}: {error.strerror}"
                ) from error

    def keep(self, manifests: Sequence[Manifest]) -> None:
        self._kept = frozenset(m.image.digest for m in manifests if m.image is not None)

    async def fetch_model(self, manifest: Manifest, into: Path) -> Path:
        """A model file that is an artifact: `oci:repository@sha256:…`. Its hash is checked by whoever asked.

        Raises ModelUnavailable.
        """
        assert manifest.model is not None
        try:
            async with self._turn, Registry(self._settings) as registry:
                wanted = reference.parse(
                    manifest.model.source.removeprefix("oci:"), self._registry()
                )
                cache = await asyncio.to_thread(self._cache, 0)
                found = await pull_artifact(
                    registry, wanted, cache, media.MODEL, Limits(bytes_max=self._bytes_max)
                )
                target = into / manifest.model.file
                await asyncio.to_thread(_copy, found.path, target)
        except (OciError, OSError) as error:
            raise ModelUnavailable(f"{manifest.model.name}: {error}") from error
        return target

    async def _fetch(
        self, image: Image, publisher: bytes, told: Callable[[str], None], *, wasm: bool
    ) -> Unpacked:
        place = self._roots / image.digest.replace(":", "-")
        known = await asyncio.to_thread(_read, place)
        if known is not None and known.publisher == fingerprint(publisher):
            with suppress(OSError):
                os.utime(place.with_suffix(".json"))
            return _unpacked(place, known, wasm=wasm)
        told(f"checking the signature of {image.repository}")
        async with Registry(self._settings) as registry:
            wanted = reference.parse(f"{image.repository}@{image.digest}", self._registry())
            await signatures.verify(registry, wanted, (publisher,))
            if refusal := await asyncio.to_thread(self._over, 3 * image.size_bytes):
                raise ImageUnavailable(refusal)
            await asyncio.to_thread(self._make_room, image.size_bytes)
            await asyncio.to_thread(_remove, place)
            tell = _Telling(image, told)
            if wasm:
                record = await self._fetch_module(registry, wanted, image, place, publisher, tell)
            else:
                record = await self._fetch_root(registry, wanted, image, place, publisher, tell)
        await asyncio.to_thread(_write, place, record)
        log.info("image_ready repository=%s digest=%s", image.repository, image.digest)
        return _unpacked(place, record, wasm=wasm)

    async def _fetch_module(
        self,
        registry: Registry,
        wanted: Reference,
        image: Image,
        place: Path,
        publisher: bytes,
        tell: _Telling,
    ) -> Record:
        limits = Limits(bytes_max=min(WASM_BYTES_MAX, image.size_bytes + SPARE_BYTES))
        cache = await asyncio.to_thread(self._cache, 0)
        found = await pull_artifact(registry, wanted, cache, media.WASM, limits, tell)
        await asyncio.to_thread(_copy, found.path, place)
        return Record(fingerprint(publisher), found.manifest.size_bytes)

    async def _fetch_root(
        self,
        registry: Registry,
        wanted: Reference,
        image: Image,
        place: Path,
        publisher: bytes,
        tell: _Telling,
    ) -> Record:
        # A manifest that understates its size is not what was listed.
        limits = Limits(bytes_max=image.size_bytes + SPARE_BYTES)
        cache = await asyncio.to_thread(self._cache, 2 * image.size_bytes)
        found = await pull_image(registry, wanted, cache, here(), limits, tell)
        tell.words("unpacking")
        most = await asyncio.to_thread(self._room_for_root, image, found.blobs)
        done = await asyncio.to_thread(
            unpack,
            found.layers,
            place,
            limits=UnpackLimits(bytes_max=most, files_max=FILES_MAX),
            owner=self._owner,
        )
        config = found.config
        return Record(
            fingerprint(publisher),
            done.bytes,
            config.arguments,
            config.environment,
            config.working_dir,
        )

    def _cache(self, root_bytes: int) -> BlobCache:
        """Blobs may take what roots leave, those here and one of so many bytes that is to come."""
        room = self._bytes_max - self._roots_bytes() - root_bytes
        return BlobCache(self._blobs, max(0, room))

    def _room_for_root(self, image: Image, blobs: Sequence[str]) -> int:
        """How large it may become; blobs of other images give way to it. Raises CacheFull."""
        room = self._bytes_max - self._roots_bytes()
        most = max(ROOT_BYTES_MIN, ROOT_BYTES_PER_COMPRESSED * image.size_bytes)
        most = max(0, min(most, room - image.size_bytes - SPARE_BYTES))
        BlobCache(self._blobs, room - most).make_room(0, keep=blobs)
        return most

    def _roots_bytes(self) -> int:
        return sum(
            record.size_bytes
            for path in self._roots.glob("sha256-*.json")
            if (record := _read_file(path)) is not None
        )

    def _make_room(self, compressed_bytes: int) -> None:
        """Removes roots that no Cargo of the catalogue has, the longest unused first. Raises ImageUnavailable."""
        self._roots.mkdir(parents=True, exist_ok=True, mode=0o755)
        _remove_unfinished(self._roots)
        # What a root takes is known once it is unpacked; three times its layers is what most take.
        needed = 3 * compressed_bytes
        held = sorted(self._roots.glob("sha256-*.json"), key=lambda path: path.stat().st_mtime)
        sizes = {path: (record.size_bytes if (record := _read_file(path)) else 0) for path in held}
        total = sum(sizes.values())
        for path in held:
            if total + needed <= self._bytes_max:
                return
            if path.stem.replace("-", ":", 1) not in self._kept:
                _remove(path.with_suffix(""))
                total -= sizes[path]
        if total + needed > self._bytes_max:
            raise ImageUnavailable(
                f"images take {total >> 20} MB of the {self._bytes_max >> 20} MB that they may; "
                "raise ARCHIPELAG_ISLAND_IMAGES_MB_MAX"
            )


class _Telling:
    """Turns bytes that arrived into words, not too often."""

    def __init__(self, image: Image, told: Callable[[str], None]) -> None:
        self._image, self._told = image, told
        self._done: dict[str, int] = {}
        self._at = 0.0

    def __call__(self, digest: str, done: int, size: int) -> None:
        del size
        self._done[digest] = done
        now = time.monotonic()
        if now - self._at >= TELL_S:
            self._at = now
            percent = min(99, 100 * sum(self._done.values()) // max(1, self._image.size_bytes))
            self.words(f"fetching, {percent} % of {self._image.size_bytes / 1e6:.0f} MB")

    def words(self, what: str) -> None:
        self._told(f"{what}: {self._image.repository}")


def here() -> Platform:
    """What images must be made for to run on this machine."""
    return Platform("linux", _ARCHITECTURES.get(platform.machine().lower(), platform.machine()))


def _unpacked(place: Path, record: Record, *, wasm: bool) -> Unpacked:
    if wasm:
        return Unpacked(wasm=place)
    return Unpacked(place, record.command, record.environment, record.working_dir)


def _read(place: Path) -> Record | None:
    """None: nothing whole lies there."""
    return _read_file(place.with_suffix(".json")) if place.exists() else None


def _read_file(path: Path) -> Record | None:
    try:
        raw = json.loads(path.read_bytes())
        return Record(
            str(raw["publisher"]),
            int(raw["size_bytes"]),
            tuple(str(part) for part in raw["command"]),
            tuple((str(name), str(value)) for name, value in raw["environment"]),
            str(raw["working_dir"]),
        )
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _write(place: Path, record: Record) -> None:
    """Last of all: without it, what lies there counts as unfinished."""
    whole = {
        "publisher": record.publisher,
        "size_bytes": record.size_bytes,
        "command": record.command,
        "environment": record.environment,
        "working_dir": record.working_dir,
    }
    write_private(place.with_suffix(".json"), json.dumps(whole).encode())


def _remove(place: Path) -> None:
    place.with_suffix(".json").unlink(missing_ok=True)
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _remove_unfinished(roots: Path) -> None:
    for path in roots.iterdir():
        if path.suffix != ".json" and _read(path) is None:
            _remove(path)


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all; of its own, so that a cache that makes room does not take it away."""
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(source, part)
        part.chmod(0o444)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
