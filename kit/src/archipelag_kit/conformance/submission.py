"""Looks at a submitted Cargo from its registry to the sandbox, and gives a verdict for each check of a review."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from archipelag_contracts.errors import BadManifest
from archipelag_contracts.manifest import MANIFEST_BYTES_MAX, Manifest, parse_canonical
from archipelag_island.runtime import CargoSpec
from archipelag_oci import descriptor, media, sbom, signatures
from archipelag_oci.cache import BlobCache
from archipelag_oci.errors import NotSigned, OciError, RegistryUnreachable
from archipelag_oci.pull import Limits, pull_artifact, pull_image
from archipelag_oci.reference import Reference
from archipelag_oci.registry import Registry
from archipelag_oci.settings import Settings

from archipelag_kit.conformance import rooms
from archipelag_kit.conformance.finding import Finding
from archipelag_kit.conformance.suite import check_cargo, check_manifest

SAID_MAX: Final = 500
CACHE_SPARE_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class Verdict:
    """One check of a review, by the Coordinator's name for it."""

    name: str
    passed: bool
    said: str = ""


@dataclass(frozen=True)
class Asked:
    """What is to be looked at: where it lies, who is to have signed it, and which manifest it is to be."""

    reference: Reference
    public: bytes
    digest: str
    image_bytes_max: int
    created: str
    """The time that stands in the list of what the image is made of."""


@dataclass
class _Look:
    verdicts: list[Verdict] = field(default_factory=list)
    sbom: dict[str, Any] | None = None

    def note(self, name: str, passed: bool, said: str) -> bool:
        self.verdicts.append(Verdict(name, passed, said[:SAID_MAX]))
        return passed


class _Stop(Exception):
    """What comes next cannot be looked at; the verdict is noted."""


async def look(
    asked: Asked, settings: Settings, scratch: Path
) -> tuple[list[Verdict], dict[str, Any] | None]:
    """Raises RegistryUnreachable and NotUsable, which say nothing about the Cargo."""
    done = _Look()
    try:
        async with Registry(settings) as registry:
            cache = BlobCache(scratch / "cache", asked.image_bytes_max + CACHE_SPARE_BYTES)
            manifest = await _manifest(asked, registry, cache, done)
            async with _unpacked(asked, manifest, registry, cache, scratch, done) as spec:
                await _conformance(manifest, spec, scratch, done)
    except _Stop:
        pass
    return done.verdicts, done.sbom


async def _manifest(asked: Asked, registry: Registry, cache: BlobCache, done: _Look) -> Manifest:
    await _signed(asked.reference, asked, registry, done)
    try:
        limits = Limits(bytes_max=MANIFEST_BYTES_MAX + 1024)
        artifact = await pull_artifact(registry, asked.reference, cache, media.CARGO, limits)
        manifest = parse_canonical(await asyncio.to_thread(artifact.path.read_bytes))
    except RegistryUnreachable:
        raise
    except (OciError, BadManifest) as error:
        done.note("manifest", False, str(error))
        raise _Stop from None
    if manifest.digest != asked.digest:
        done.note("manifest", False, f"the registry holds {manifest.digest}, not {asked.digest}")
        raise _Stop
    failed = [finding for finding in check_manifest(manifest) if not finding.passed]
    if not done.note("manifest", not failed, _said(failed) or "canonical, and within its tier"):
        raise _Stop
    if manifest.image is None:
        done.note("image", False, "the manifest names no image")
        raise _Stop
    await _signed(asked.reference.at(manifest.image.digest), asked, registry, done)
    done.note("signature", True, "Cargo and image are signed by the publisher's key")
    return manifest


async def _signed(reference: Reference, asked: Asked, registry: Registry, done: _Look) -> None:
    try:
        await signatures.verify(registry, reference, [asked.public])
    except RegistryUnreachable:
        raise
    except (NotSigned, OciError) as error:
        done.note("signature", False, str(error))
        raise _Stop from None


@asynccontextmanager
async def _unpacked(
    asked: Asked,
    manifest: Manifest,
    registry: Registry,
    cache: BlobCache,
    scratch: Path,
    done: _Look,
) -> AsyncIterator[CargoSpec]:
    """The image on this disk, its contents listed."""
    assert manifest.image is not None
    reference = asked.reference.at(manifest.image.digest)
    limits = Limits(bytes_max=min(asked.image_bytes_max, manifest.image.size_bytes))
    try:
        if manifest.runtime == "wasm":
            artifact = await pull_artifact(registry, reference, cache, media.WASM, limits)
            done.note("image", True, f"a module of {artifact.path.stat().st_size} bytes")
            contents = sbom.Contents((), 1, artifact.path.stat().st_size)
            done.sbom = sbom.spdx(contents, manifest.slug, reference.digest, asked.created)
            done.note("sbom", True, "one module, nothing beside it")
            _read_licences(manifest, (), done)
            yield rooms.module_spec(manifest, artifact.path)
            return
        platform = descriptor.this_machine()
        image = await pull_image(registry, reference, cache, platform, limits)
        with rooms.image_spec(manifest, image.config, image.layers, scratch) as spec:
            assert spec.root is not None
            contents = await asyncio.to_thread(sbom.look_into, spec.root)
            done.note("image", True, f"{contents.files} files, {contents.bytes} bytes unpacked")
            done.sbom = sbom.spdx(contents, manifest.slug, reference.digest, asked.created)
            done.note("sbom", True, f"{len(contents.packages)} packages")
            _read_licences(manifest, contents.licenses, done)
            yield spec
    except RegistryUnreachable:
        raise
    except OciError as error:
        done.note("image", False, str(error))
        raise _Stop from None


def _read_licences(manifest: Manifest, found: tuple[str, ...], done: _Look) -> None:
    """Named for the person who decides; what cannot be told is told as such."""
    told = ", ".join(found) or "none beside its own"
    done.note("license", True, f"{manifest.license}; inside: {told}")


async def _conformance(manifest: Manifest, spec: CargoSpec, scratch: Path, done: _Look) -> None:
    if manifest.model is not None:
        done.note(
            "conformance",
            False,
            "its model must be tried by hand: `archipelag cargo test --model FILE`",
        )
        return
    room = await rooms.open_room(manifest.runtime, scratch)
    found = await check_cargo(room.runtime, spec)
    failed = [finding for finding in found if not finding.passed]
    where = room.info.executor or room.info.name
    done.note("conformance", not failed, _said(failed) or f"{len(found)} checks passed in {where}")


def _said(failed: list[Finding]) -> str:
    return "; ".join(f"{finding.name}: {finding.said}" for finding in failed)
