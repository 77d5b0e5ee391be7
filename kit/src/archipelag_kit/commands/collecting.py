"""Copies installed packages, with what they need in turn, into a folder: what a Python image takes along.

From the environment that this runs in: nothing is downloaded, and the image has what the author's tests ran with.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from archipelag_kit.commands.errors import ToolMissing

# What the kit itself needs inside an image, and what only its author needs.
KIT: Final = ("archipelag-kit",)
_NOT_INSIDE: Final = {
    "archipelag_kit": ("commands", "conformance", "templates", "testing", "drafts.py"),
}
# Says where and how a package was installed here, which is nobody's business and differs from machine to machine.
_NOT_OF_DIST: Final = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "WHEEL")


def collect(names: Iterable[str], cache: Path) -> Path:
    """A folder with them, in `cache`: the same one as long as nothing about them has changed. Raises ToolMissing."""
    files: dict[str, Path] = {}
    for one in _closure(names):
        files |= _of_one(one)
    folder = cache / _key(files)
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".collecting-", dir=cache))
    for name, source in files.items():
        target = part / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # With its time, by which the next build sees that it is the same.
        shutil.copy2(source, target)
    with suppress(OSError):  # another build was quicker
        part.rename(folder)
    shutil.rmtree(part, ignore_errors=True)
    return folder


def _key(files: Mapping[str, Path]) -> str:
    looks = []
    for name, source in sorted(files.items()):
        found = source.stat()
        looks.append(f"{name} {found.st_size} {found.st_mtime_ns}")
    return hashlib.sha256("\n".join(looks).encode()).hexdigest()[:32]


def _closure(names: Iterable[str]) -> Sequence[Distribution]:
    # Late, as this package is the author's tool and not the Cargo's.
    from packaging.requirements import Requirement

    found: dict[str, Distribution] = {}
    extras: dict[str, set[str]] = {}
    waiting = [(Requirement(name), "what is built") for name in names]
    while waiting:
        wanted, by = waiting.pop()
        name = _normal(wanted.name)
        # Who asks later may want extras that who asked first did not.
        if name in found and wanted.extras <= extras[name]:
            continue
        try:
            one = distribution(name)
        except PackageNotFoundError:
            raise ToolMissing(f"{wanted.name} is not installed, and {by} needs it") from None
        found[name] = one
        extras[name] = extras.get(name, set()) | wanted.extras
        for line in one.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or _holds(requirement, extras[name]):
                waiting.append((requirement, name))
    return [found[name] for name in sorted(found)]


def _holds(requirement: object, extras: set[str]) -> bool:
    from packaging.requirements import Requirement

    assert isinstance(requirement, Requirement) and requirement.marker is not None
    return any(requirement.marker.evaluate({"extra": extra}) for extra in (*extras, ""))


def _of_one(one: Distribution) -> dict[str, Path]:
    """Path in the image's packages → file here."""
    files = [file for file in one.files or () if ".." not in file.parts]
    editable = any(file.name.startswith("__editable__") for file in files)
    found = {}
    for file in files:
        inside = file.parts[0].endswith(".dist-info")
        if _is_left_out(file.parts, dist_info=inside) or (editable and not inside):
            continue
        source = Path(str(one.locate_file(file)))
        if source.is_file():
            found["/".join(file.parts)] = source
    if editable:
        for package in (one.read_text("top_level.txt") or "").split():
            found |= _of_source(package)
    return found


def _of_source(package: str) -> dict[str, Path]:
    """Of a package that is installed by a link to its source."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ToolMissing(f"{package} is installed, but cannot be found")
    source = Path(spec.origin)
    if source.name != "__init__.py":
        return {source.name: source}
    base = source.parent.parent
    parts = ((path.relative_to(base).parts, path) for path in source.parent.rglob("*"))
    return {
        "/".join(names): path
        for names, path in parts
        if path.is_file() and not _is_left_out(names, dist_info=False)
    }


def _is_left_out(parts: tuple[str, ...], *, dist_info: bool) -> bool:
    if dist_info:
        return parts[-1] in _NOT_OF_DIST
    left_out = _NOT_INSIDE.get(parts[0], ())
    return (
        "__pycache__" in parts
        or parts[-1].endswith((".pyc", ".pyi", ".pxd", ".pyx", ".pth"))
        or (len(parts) > 1 and parts[1] in left_out)
    )


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
