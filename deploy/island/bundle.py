"""Builds an Island as one file that runs on a bare Linux host of this architecture: no Python, no packages needed.

python deploy/island/bundle.py [--to FILE] [--cache FOLDER]

The same root as the container image has, behind a few lines of shell that unpack it once. The same sources give the
same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.metadata
import io
import platform
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from archipelag_kit.commands.collecting import collect
from archipelag_oci import elf
from archipelag_oci.pull import Layer
from archipelag_oci.python_image import PACKAGES, PYTHON, python_image
from archipelag_oci.unpack import unpack

HERE: Final = Path(__file__).parent
WRAPPER: Final = "usr/local/bin/island-python"
LIBRARIES: Final = "usr/local/lib/glibc"
LOADER: Final = "ld.so"
OFFSET_DIGITS: Final = 8


def bundle(to: Path, cache: Path) -> str:
    """Writes the file and returns its digest. Takes half a minute the first time."""
    packages = collect(["archipelag-island"], cache / "packages")
    image = python_image(cache / "layers", code=None, arguments=(), packages=[packages])
    with tempfile.TemporaryDirectory(prefix="archipelag-file-") as folder:
        layers = [Layer(layer.path, "gzip", layer.diff_id) for layer in image.layers]
        root = unpack(layers, Path(folder) / "root").folder
        _gather_libraries(root)
        wrapper = root / WRAPPER
        wrapper.write_text(_filled("island-python.sh", PYTHON=PYTHON.rpartition("/")[2]))
        wrapper.chmod(0o755)
        packed = _packed(root)
    head = _head(packed)
    part = to.with_name(f".{to.name}.part")
    part.write_bytes(head + packed)
    part.chmod(0o755)
    part.replace(to)
    return hashlib.sha256(head + packed).hexdigest()


def _gather_libraries(root: Path) -> None:
    """Into one folder below Python's own, since that is what sandboxes of the Island show to a Cargo."""
    needs = elf.needs(root / PYTHON.lstrip("/"))
    assert needs is not None and needs.loader
    target = root / LIBRARIES
    target.mkdir()
    (root / needs.loader.lstrip("/")).rename(target / LOADER)
    glibc = next(path for path in sorted(root.rglob("libc.so.6"))).parent
    for library in sorted(glibc.iterdir()):
        library.rename(target / library.name)
    # Links to libraries that the loader is told of.
    shutil.rmtree(root / "usr" / "lib", ignore_errors=True)
    for left in root.iterdir():
        if left.name != "usr":
            shutil.rmtree(left)


def _packed(root: Path) -> bytes:
    """In order, of nobody and without times, so that it is the same each time."""
    out = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path in sorted(root.rglob("*")):
            entry = archive.gettarinfo(path, str(path.relative_to(root)))
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            if entry.isreg():
                with path.open("rb") as file:
                    archive.addfile(entry, file)
            else:
                archive.addfile(entry)
    return out.getvalue()


def _head(packed: bytes) -> bytes:
    """Its own length stands in it, as a number of so many digits whatever it is."""
    told = {
        "DIGEST": hashlib.sha256(packed).hexdigest(),
        "MACHINE": platform.machine(),
        "PACKAGES": PACKAGES,
        "VERSION": importlib.metadata.version("archipelag-island"),
    }
    length = len(_filled("head.sh", OFFSET="0" * OFFSET_DIGITS, **told).encode())
    head = _filled("head.sh", OFFSET=f"{length + 1:0{OFFSET_DIGITS}}", **told).encode()
    assert len(head) == length
    return head


def _filled(name: str, **values: str) -> str:
    text = (HERE / name).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    assert "@" not in text.replace('"$@"', ""), f"{name} has a value that nobody gave"
    return text


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    dist = HERE.parents[1] / "dist"
    parser.add_argument(
        "--to", type=Path, default=dist / "island" / f"archipelag-island-linux-{platform.machine()}"
    )
    parser.add_argument(
        "--cache", type=Path, default=dist / "images" / "cache", help="shared with the images"
    )
    chosen = parser.parse_args(arguments)
    to: Path = chosen.to
    to.parent.mkdir(parents=True, exist_ok=True)
    digest = bundle(to, chosen.cache)
    print(f"{to}: {to.stat().st_size / 1e6:.0f} MB, sha256:{digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
