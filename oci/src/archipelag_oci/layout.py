"""An image as an OCI layout: a folder or a tar of it that skopeo, podman and docker read without a registry."""

from __future__ import annotations

import hashlib
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Final

from archipelag_oci import descriptor, media, strict
from archipelag_oci.descriptor import Descriptor
from archipelag_oci.errors import BadDocument, TooLarge, disk_full_is_told
from archipelag_oci.image import ImageFile, LayerFile, copy_layers
from archipelag_oci.manifests import (
    CONFIG_BYTES_MAX,
    MANIFEST_BYTES_MAX,
    Index,
    parse_config,
    parse_image_manifest,
    parse_manifest,
)
from archipelag_oci.reference import sha256

VERSION: Final = b'{"imageLayoutVersion":"1.0.0"}'


def write_layout(image: ImageFile, folder: Path, name: str = "") -> None:
    """Beside images that are there already only if it is the same; a layout here is of one image."""
    blobs = folder / "blobs" / "sha256"
    with disk_full_is_told(folder.parent):
        blobs.mkdir(parents=True, exist_ok=True)
        copy_layers(image, blobs)
        for data in (image.config, image.manifest):
            (blobs / sha256(data).removeprefix("sha256:")).write_bytes(data)
        (folder / "index.json").write_bytes(_index(image, name))
        (folder / "oci-layout").write_bytes(VERSION)


def write_layout_tar(image: ImageFile, path: Path, name: str = "") -> None:
    """The same as one file, sorted and without times."""
    with (
        disk_full_is_told(path.parent),
        tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive,
    ):
        small = {"oci-layout": VERSION, "index.json": _index(image, name)}
        for data in (image.config, image.manifest):
            small["blobs/sha256/" + sha256(data).removeprefix("sha256:")] = data
        large = {
            "blobs/sha256/" + layer.descriptor.digest.removeprefix("sha256:"): layer.path
            for layer in image.layers
        }
        for member in sorted({*small, *large}):
            entry = tarfile.TarInfo(member)
            if member in small:
                entry.size = len(small[member])
                archive.addfile(entry, BytesIO(small[member]))
            else:
                entry.size = large[member].stat().st_size
                with large[member].open("rb") as file:
                    archive.addfile(entry, file)


def read_layout(folder: Path) -> ImageFile:
    """The one image of a layout, every blob checked. Raises BadDocument, TooLarge."""
    try:
        index = parse_manifest(_bounded(folder / "index.json", MANIFEST_BYTES_MAX), media.INDEX)
        if not isinstance(index, Index) or len(index.manifests) != 1:
            raise BadDocument(f"{folder} is no layout of one image")
        data = _blob(folder, index.manifests[0], MANIFEST_BYTES_MAX)
        manifest = parse_image_manifest(data, index.manifests[0].media_type)
        config = _blob(folder, manifest.config, CONFIG_BYTES_MAX)
        diff_ids = parse_config(config).diff_ids
        if len(diff_ids) != len(manifest.layers):
            raise BadDocument(f"{folder}: its config speaks of other layers than its manifest")
        layers = tuple(
            LayerFile(layer, diff_id, _checked(folder, layer))
            for layer, diff_id in zip(manifest.layers, diff_ids, strict=True)
        )
    except FileNotFoundError as error:
        raise BadDocument(f"{folder} is no layout: {error.filename} is missing") from None
    return ImageFile(data, config, layers)


def _index(image: ImageFile, name: str) -> bytes:
    annotations = {media.REF_NAME: name} if name else {}
    entry = descriptor.of(media.MANIFEST, image.manifest, annotations)
    return strict.canonical(
        {"schemaVersion": 2, "mediaType": media.INDEX, "manifests": [entry.document()]}
    )


def _bounded(path: Path, bytes_max: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise TooLarge(f"{path} has more than {bytes_max} bytes")
    return data


def _place(folder: Path, blob: Descriptor) -> Path:
    return folder / "blobs" / "sha256" / blob.digest.removeprefix("sha256:")


def _blob(folder: Path, blob: Descriptor, bytes_max: int) -> bytes:
    data = _bounded(_place(folder, blob), bytes_max)
    if sha256(data) != blob.digest or len(data) != blob.size:
        raise BadDocument(f"{_place(folder, blob)} is not what its name says")
    return data


def _checked(folder: Path, blob: Descriptor) -> Path:
    path = _place(folder, blob)
    with path.open("rb") as file:
        found = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    if found != blob.digest or path.stat().st_size != blob.size:
        raise BadDocument(f"{path} is not what its name says")
    return path
