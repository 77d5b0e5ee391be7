"""Images from files alone: without a base image, without a network, byte for byte the same when built again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from archipelag_oci.errors import BuildFailed
from archipelag_oci.image import File, ImageFile, Settings, assemble, write_layer

IGNORED: Final = ("__pycache__", ".git", ".DS_Store")

FOLDERS: Final = (
    File("tmp", mode=0o1777),
    File("proc", mode=0o755),
    File("sys", mode=0o755),
    File("dev", mode=0o755),
    File("run/archipelag", mode=0o755),
)
ACCOUNTS: Final = (
    File(
        "etc/passwd",
        b"root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/tmp:/sbin/nologin\n",
    ),
    File("etc/group", b"root:x:0:\nnogroup:x:65534:\n"),
    File("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n"),
    File("etc/hosts", b"127.0.0.1 localhost\n::1 localhost\n"),
)


def from_files(
    files: Iterable[File],
    folder: Path,
    *,
    entrypoint: Sequence[str],
    environment: Mapping[str, str] | None = None,
    working_dir: str = "/",
    labels: Mapping[str, str] | None = None,
) -> ImageFile:
    """`FROM scratch` with these files, such as one static binary. Its layer is written to `folder`."""
    if not entrypoint:
        raise BuildFailed("an image needs an entrypoint: the command that serves the Cargo")
    given = list(files)
    named = {file.path.strip("/") for file in given}
    standing = [file for file in (*FOLDERS, *ACCOUNTS) if file.path not in named]
    layer = write_layer([*standing, *given], folder)
    settings = Settings(
        entrypoint,
        environment=environment or {},
        working_dir=working_dir,
        labels=labels or {},
    )
    return assemble([layer], settings)


def tree(folder: Path, at: str, left_out: Sequence[str] = ()) -> Iterator[File]:
    """All files of a folder here, at a path of the image; `left_out` are patterns of paths within the folder.

    A link to a file within the folder is taken as that file. Raises BuildFailed for any other link.
    """
    base = folder.resolve()
    yield from _below(base, base, "", f"{at}/" if at else "", left_out)


def _below(base: Path, here: Path, inner: str, at: str, left_out: Sequence[str]) -> Iterator[File]:
    for entry in sorted(os.scandir(here), key=lambda each: each.name):
        name, is_folder = inner + entry.name, entry.is_dir()
        if entry.name in IGNORED or entry.name.endswith(".pyc"):
            continue
        if any(fnmatch(f"{name}/" if is_folder else name, pattern) for pattern in left_out):
            continue
        path = here / entry.name
        if entry.is_symlink() and (is_folder or not path.resolve().is_relative_to(base)):
            raise BuildFailed(f"{path} links to a folder or out of {base}: copy what it needs")
        if is_folder:
            yield File(at + name, mode=0o755)
            yield from _below(base, path, f"{name}/", at, left_out)
        elif entry.is_file():
            yield File(at + name, path, mode=0o755 if entry.stat().st_mode & 0o111 else 0o644)
