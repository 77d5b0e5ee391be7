"""An image as files on this disk, made so that the same content always has the same digest."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Final, cast

from archipelag_oci import descriptor, media, strict
from archipelag_oci.descriptor import Descriptor, Platform
from archipelag_oci.errors import BuildFailed, UnsafeLayer, disk_full_is_told
from archipelag_oci.manifests import ImageManifest
from archipelag_oci.names import split
from archipelag_oci.reference import sha256

EPOCH: Final = "1970-01-01T00:00:00Z"
GZIP_LEVEL: Final = 6


@dataclass(frozen=True)
class File:
    """One entry of a layer: bytes, a file here, a symbolic link, or, with none of them, a folder."""

    path: str
    content: bytes | Path | None = None
    mode: int = 0o644
    link: str = ""


@dataclass(frozen=True)
class LayerFile:
    descriptor: Descriptor
    diff_id: str
    path: Path


@dataclass(frozen=True)
class ImageFile:
    """Its manifest and config as bytes, and where its layers lie."""

    manifest: bytes
    config: bytes
    layers: tuple[LayerFile, ...]

    @property
    def digest(self) -> str:
        return sha256(self.manifest)

    @property
    def size_bytes(self) -> int:
        """Of all that an Island pulls for it."""
        return (
            len(self.manifest)
            + len(self.config)
            + sum(layer.descriptor.size for layer in self.layers)
        )


@dataclass(frozen=True)
class Settings:
    """What a runtime is told."""

    entrypoint: Sequence[str]
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = "/"
    user: str = "65534:65534"
    labels: Mapping[str, str] = field(default_factory=dict)
    platform: Platform = field(default_factory=descriptor.this_machine)


def write_layer(files: Iterable[File], folder: Path) -> LayerFile:
    """A layer in `folder`, named by its digest: sorted, of root, without times, packed without a clock."""
    entries = _with_parents(files)
    folder.mkdir(parents=True, exist_ok=True)
    with disk_full_is_told(folder):
        fd, name = tempfile.mkstemp(prefix=".layer-", dir=folder)
        part = Path(name)
        try:
            with os.fdopen(fd, "wb") as raw:
                out = _Hashed(raw)
                with (
                    gzip.GzipFile(
                        filename="",
                        mode="wb",
                        compresslevel=GZIP_LEVEL,
                        fileobj=cast("BytesIO", out),
                        mtime=0,
                    ) as packed,
                    _Tar(_Hashed(packed)) as archive,
                ):
                    for entry in entries:
                        archive.add(entry)
            found = Descriptor(media.LAYER_GZIP, out.digest, out.size)
            path = folder / found.digest.removeprefix("sha256:")
            part.chmod(0o644)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return LayerFile(found, archive.digest, path)


def assemble(layers: Sequence[LayerFile], settings: Settings) -> ImageFile:
    run: dict[str, object] = {"Entrypoint": list(settings.entrypoint)}
    if settings.command:
        run["Cmd"] = list(settings.command)
    if settings.environment:
        run["Env"] = [f"{name}={value}" for name, value in sorted(settings.environment.items())]
    run |= {"WorkingDir": settings.working_dir, "User": settings.user}
    if settings.labels:
        run["Labels"] = dict(sorted(settings.labels.items()))
    config = strict.canonical(
        {
            "created": EPOCH,
            "architecture": settings.platform.architecture,
            "os": settings.platform.os,
            "config": run,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created": EPOCH, "created_by": "archipelag"} for _ in layers],
        }
    )
    manifest = ImageManifest(
        media.MANIFEST,
        descriptor.of(media.CONFIG, config),
        tuple(layer.descriptor for layer in layers),
    )
    return ImageFile(manifest.encode(), config, tuple(layers))


class _Hashed:
    """A file that knows what has gone through it."""

    def __init__(self, file: object) -> None:
        self._file = cast("BytesIO", file)
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()


class _Tar:
    def __init__(self, out: _Hashed) -> None:
        self._out = out
        self._tar = tarfile.TarFile(
            fileobj=cast("BytesIO", out), mode="w", format=tarfile.PAX_FORMAT
        )

    @property
    def digest(self) -> str:
        return self._out.digest

    def __enter__(self) -> _Tar:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def add(self, entry: File) -> None:
        member = tarfile.TarInfo(entry.path)
        member.mode = entry.mode
        if entry.link:
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, entry.link, 0o777
            self._tar.addfile(member)
        elif entry.content is None:
            member.type = tarfile.DIRTYPE
            self._tar.addfile(member)
        elif isinstance(entry.content, bytes):
            member.size = len(entry.content)
            self._tar.addfile(member, BytesIO(entry.content))
        else:
            with entry.content.open("rb") as file:
                member.size = os.fstat(file.fileno()).st_size
                self._tar.addfile(member, file)


def _with_parents(files: Iterable[File]) -> list[File]:
    """Every folder stands before what is in it; the same path twice is the author's mistake."""
    found: dict[tuple[str, ...], File] = {}
    for file in files:
        try:
            parts = split(file.path)
        except UnsafeLayer as error:
            raise BuildFailed(str(error)) from None
        if not parts or parts in found:
            raise BuildFailed(
                f"{file.path!r} stands twice in one layer" if parts else "a file without a name"
            )
        found[parts] = file
    for parts in list(found):
        for depth in range(1, len(parts)):
            parent = parts[:depth]
            if parent not in found:
                found[parent] = File("/".join(parent), mode=0o755)
            elif found[parent].content is not None or found[parent].link:
                raise BuildFailed(f"{'/'.join(parent)} is a file and a folder")
    return [found[parts] for parts in sorted(found)]


def copy_layers(image: ImageFile, folder: Path) -> None:
    """Each layer's file, by its digest, into a folder that may hold it already."""
    for layer in image.layers:
        target = folder / layer.descriptor.digest.removeprefix("sha256:")
        if not target.exists():
            part = target.with_suffix(".part")
            shutil.copyfile(layer.path, part)
            part.replace(target)
