"""Images from files alone: without a base image, without a network, byte for byte the same when built again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def tree(folder: Path, at: str) -> Iterator[File]:
    """All files of a folder here, at a path of the image. Links are taken as what they lead to, within the folder."""
    base = folder.resolve()
    for path in sorted(base.rglob("*")):
        parts = path.relative_to(base).parts
        if any(part in IGNORED or part.endswith(".pyc") for part in parts):
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(base):
            raise BuildFailed(f"{path} links out of {folder}: copy what it needs")
        name = "/".join((at, *parts)) if at else "/".join(parts)
        if path.is_file():
            yield File(name, path, mode=0o755 if path.stat().st_mode & 0o111 else 0o644)
        elif path.is_dir() and not path.is_symlink():
            yield File(name, mode=0o755)
