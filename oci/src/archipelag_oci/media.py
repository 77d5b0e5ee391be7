"""Media types, as the OCI specifications, Docker and cosign write them."""

from __future__ import annotations

from typing import Final

from archipelag_contracts.cosign import ARTIFACT_TYPE as CARGO
from archipelag_contracts.cosign import EMPTY_TYPE as EMPTY

__all__ = ["CARGO", "EMPTY"]

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER_TAR: Final = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"

COSIGN_LAYER: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
WASM_CONFIG: Final = "application/vnd.wasm.config.v0+json"
WASM: Final = "application/wasm"
MODEL: Final = "application/vnd.archipelag.model.v1"

TITLE: Final = "org.opencontainers.image.title"
REF_NAME: Final = "org.opencontainers.image.ref.name"

MANIFESTS: Final = (MANIFEST, DOCKER_MANIFEST)
INDEXES: Final = (INDEX, DOCKER_INDEX)
CONFIGS: Final = (CONFIG, DOCKER_CONFIG)

COMPRESSION: Final = {
    LAYER_TAR: "tar",
    LAYER_GZIP: "gzip",
    LAYER_ZSTD: "zstd",
    DOCKER_LAYER: "gzip",
}
"""Layer's media type → how it is packed. A layer of another type is refused."""
