"""An image of the running Python with packages and an author's code: no base image, no network, three layers.

Interpreter, dependencies and code are layers of their own, so that Cargos which share one share its bytes on every
Island.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from archipelag_oci import elf
from archipelag_oci.build import ACCOUNTS, FOLDERS, tree
from archipelag_oci.bytecode import compiled
from archipelag_oci.descriptor import Descriptor
from archipelag_oci.errors import BuildFailed
from archipelag_oci.image import File, ImageFile, LayerFile, Settings, assemble, write_layer
from archipelag_oci.libraries import HOME, libraries

VERSION: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
PYTHON: Final = f"/usr/local/bin/{VERSION}"
STANDARD: Final = f"usr/local/lib/{VERSION}"
PACKAGES: Final = f"{STANDARD}/site-packages"
CODE: Final = "app"
FORMAT: Final = 2
"""Of what is remembered of layers: raised when the same files would make another layer."""

_LEFT_OUT: Final = (
    "site-packages/*",
    "dist-packages/*",
    "test/*",
    "*/test/*",
    "*/tests/*",
    "idlelib/*",
    "tkinter/*",
    "turtledemo/*",
    "turtle.py",
    "lib2to3/*",
    "ensurepip/*",
    "pydoc_data/*",
    "config-*",
    "lib-dynload/_tkinter*",
    "lib-dynload/_test*",
    "lib-dynload/xxlimited*",
    "LICENSE.txt",
)
_NOT_INSTALLED: Final = ("bin/*", "*.dist-info/direct_url.json", "*.egg-info/*", "*.egg-info")


def python_image(
    folder: Path,
    *,
    code: Path | None,
    arguments: Sequence[str],
    packages: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    folders: Sequence[str] = (),
) -> ImageFile:
    """`arguments` follow `python`, such as `["-m", "cargo"]`, and `command` those, unless whoever runs the image says
    otherwise. `packages` are folders as `pip install --target` fills them, or source folders; `code` is the author's,
    None where packages are all. `folders` are empty ones for volumes: anybody may write to them, as to `/tmp`.
    Layers lie in `folder`, and are kept for the next time.

    Blocks: the first time takes some seconds. Raises BuildFailed, DiskFull.
    """
    if sys.platform != "linux":
        raise BuildFailed("an image holds this machine's own Python, which must be Linux's")
    program = Path(sys.executable).resolve()
    found = elf.needs(program)
    if found is None:
        raise BuildFailed(f"{program} is no program that can be put into an image")
    machine = found.machine
    interpreter = [File(PYTHON.lstrip("/"), program, mode=0o755), *_standard_library()]
    needed = libraries(_binaries(interpreter), machine)
    dependencies = _merged(packages)
    beside = libraries(_binaries(dependencies), machine, known=_names(needed))
    layers = [_layer([*_base(), *interpreter, *needed, *_found_anyway(needed)], folder)]
    if folders:
        layers.append(_layer([File(each, mode=0o1777) for each in folders], folder))
    if dependencies:
        layers.append(_layer([*dependencies, *beside], folder))
    if code is not None:
        layers.append(_layer(list(tree(code, CODE)), folder))
    variables = {
        "LD_LIBRARY_PATH": f"/{HOME}",
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if code is not None:
        variables["PYTHONPATH"] = f"/{CODE}"
    settings = Settings(
        [PYTHON, *arguments],
        command,
        environment=variables | dict(environment or {}),
        working_dir=f"/{CODE}" if code is not None else "/",
        labels=labels or {},
    )
    return assemble(layers, settings)


def _found_anyway(needed: Iterable[File]) -> Iterable[File]:
    """Links where a loader looks by itself: a program may start the interpreter with nothing in its environment."""
    assert HOME == "usr/local/lib"
    for file in needed:
        folder, _, name = file.path.rpartition("/")
        if folder == HOME:
            yield File(f"usr/lib/{name}", link=f"../local/lib/{name}")


def _base() -> Iterable[File]:
    return (
        *FOLDERS,
        *ACCOUNTS,
        File("usr/local/bin/python3", link=VERSION),
        File("usr/local/bin/python", link=VERSION),
    )


def _standard_library() -> list[File]:
    paths = sysconfig.get_paths()
    whole = {file.path: file for file in _within(Path(paths["stdlib"]), STANDARD, _LEFT_OUT)}
    dynamic = Path(sysconfig.get_config_var("DESTSHARED") or Path(paths["stdlib"]) / "lib-dynload")
    if dynamic.is_dir():
        for file in _within(
            dynamic, f"{STANDARD}/lib-dynload", ("_tkinter*", "_test*", "xxlimited*")
        ):
            whole[file.path] = file
    return list(whole.values())


def _merged(packages: Sequence[Path]) -> list[File]:
    """A file that two folders have is the first's: namespaces such as `google` lie in several."""
    found: dict[str, File] = {}
    for folder in packages:
        if not folder.is_dir():
            raise BuildFailed(f"{folder} is no folder of packages")
        for file in _within(folder, PACKAGES, _NOT_INSTALLED):
            found.setdefault(file.path, file)
    return list(found.values())


def _within(folder: Path, at: str, left_out: Sequence[str]) -> Iterable[File]:
    return (file for file in tree(folder, at, left_out) if file.content is not None)


def _binaries(files: Iterable[File]) -> dict[str, Path]:
    """Libraries, and programs: packages bring some, such as FFmpeg. What is neither turns out when it is read."""
    return {
        file.path: file.content
        for file in files
        if isinstance(file.content, Path)
        and (file.mode & 0o111 or ".so" in file.path.rpartition("/")[2])
    }


def _names(files: Iterable[File]) -> list[str]:
    return [file.path.rpartition("/")[2] for file in files]


def _layer(files: Sequence[File], folder: Path) -> LayerFile:
    """With the bytecode of its modules; taken from `folder` where the same files made it before."""
    memory = folder / "made" / f"{_key(files)}.json"
    known = _remembered(memory, folder)
    if known is not None:
        return known
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".compiling-", dir=folder))
    try:
        made = write_layer([*files, *compiled(files, scratch)], folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    memory.parent.mkdir(exist_ok=True)
    noted = {**made.descriptor.document(), "diff_id": made.diff_id}
    part = memory.with_suffix(".part")
    part.write_text(json.dumps(noted))
    part.replace(memory)
    return made


def _key(files: Sequence[File]) -> str:
    """By what the files look like, not by what they hold: reading them is what is saved."""
    looks: list[object] = [FORMAT, sys.version, sys.implementation.cache_tag]
    for file in sorted(files, key=lambda each: each.path):
        look: object = None
        if isinstance(file.content, Path):
            found = file.content.stat()
            look = [str(file.content), found.st_size, found.st_mtime_ns]
        elif file.content is not None:
            look = hashlib.sha256(file.content).hexdigest()
        looks.append([file.path, file.mode, file.link, look])
    return hashlib.sha256(json.dumps(looks).encode()).hexdigest()


def _remembered(memory: Path, folder: Path) -> LayerFile | None:
    try:
        noted = json.loads(memory.read_bytes())
        found = Descriptor(noted["mediaType"], noted["digest"], noted["size"])
        path = folder / found.digest.removeprefix("sha256:")
        whole = path.stat().st_size == found.size
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return LayerFile(found, noted["diff_id"], path) if whole else None
