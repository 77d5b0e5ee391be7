"""A Cargo's folder: where its parts lie, what its author wrote and what the build made."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from archipelag_contracts.errors import BadManifest
from archipelag_contracts.manifest import Manifest, parse_canonical

from archipelag_kit.commands.errors import WrongUsage
from archipelag_kit.drafts import parse_draft

MANIFEST: Final = "manifest.toml"
BUILD_FILE: Final = "build.toml"
BUILD: Final = "build"
_LISTS: Final = ("command", "packages")
KINDS: Final = ("python", "command", "wasm-c", "wasm-rust", "wasm")


@dataclass(frozen=True)
class Recipe:
    """How the image is made: `build.toml`."""

    kind: str
    source: str = "src"
    """The folder with the author's code."""
    module: str = ""
    """python: the module with the function marked @cargo."""
    command: tuple[str, ...] = ()
    """command: what to run in the image, before the Island's arguments."""
    requirements: str = ""
    """A lock with hashes, as `pip install --require-hashes` takes it."""
    packages: tuple[str, ...] = ()
    """Installed packages to take along, with what they need; python: the kit, when none is named."""
    wasm: str = ""
    """wasm: a module that is built by other means."""
    repository: str = ""
    """Where in a registry it lies: `host/path`, or a path in the network's own registry. Default: the slug."""


@dataclass(frozen=True)
class Folder:
    path: Path

    @property
    def layout(self) -> Path:
        """The OCI layout that is pushed."""
        return self.path / BUILD / "oci"

    @property
    def module(self) -> Path:
        """The WASM module, where it is one."""
        return self.path / BUILD / "module.wasm"

    @property
    def built_manifest(self) -> Path:
        """Canonical: the bytes that are signed."""
        return self.path / BUILD / "manifest.json"

    @property
    def signature(self) -> Path:
        return self.path / BUILD / "signature.json"

    @property
    def tested(self) -> Path:
        """What `test` found, and for which digest."""
        return self.path / BUILD / "tested.json"

    def text(self) -> str:
        try:
            return (self.path / MANIFEST).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WrongUsage(
                f"{self.path / MANIFEST}: {error}. Run this in a Cargo's folder, or name one; "
                "`archipelag cargo init NAME` makes one."
            ) from None

    def draft(self) -> Manifest:
        """What the author wrote, without an image. Raises WrongUsage with every problem."""
        try:
            return parse_draft(self.text())
        except BadManifest as error:
            raise WrongUsage(_listed(f"{MANIFEST} cannot be used", error.problems)) from None

    def recipe(self) -> Recipe:
        try:
            raw = tomllib.loads((self.path / BUILD_FILE).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise WrongUsage(f"{self.path / BUILD_FILE}: {error}") from None
        return _recipe(raw)

    def built(self) -> Manifest:
        """The manifest with its image. Raises WrongUsage when nothing was built, or for another manifest."""
        text = self.text()
        try:
            manifest = parse_canonical(self.built_manifest.read_bytes())
        except (OSError, BadManifest):
            raise WrongUsage("nothing is built here: run `archipelag cargo build`") from None
        try:
            now = parse_draft(text, manifest.image)
        except BadManifest as error:
            raise WrongUsage(_listed(f"{MANIFEST} cannot be used", error.problems)) from None
        if now.digest != manifest.digest:
            raise WrongUsage(f"{MANIFEST} has changed since: run `archipelag cargo build` again")
        return manifest


def _recipe(raw: dict[str, Any]) -> Recipe:
    known = {field.name for field in fields(Recipe)}
    problems = [f"{name} is not known" for name in sorted(raw.keys() - known)]
    if raw.get("kind") not in KINDS:
        problems.append(f"kind must be one of {', '.join(KINDS)}")
    for name, value in raw.items():
        wanted = list if name in _LISTS else str
        if name in known and not isinstance(value, wanted):
            problems.append(f"{name} must be {'a list of texts' if wanted is list else 'text'}")
    lists = {name: raw.get(name, []) for name in _LISTS}
    for name, value in lists.items():
        if isinstance(value, list) and not all(isinstance(part, str) for part in value):
            problems.append(f"{name} must be a list of texts")
    if raw.get("kind") == "python" and not raw.get("module"):
        problems.append("module must name the module with the function marked @cargo")
    if raw.get("kind") == "command" and not lists["command"]:
        problems.append("command must say what to run")
    if raw.get("kind") == "wasm" and not raw.get("wasm"):
        problems.append("wasm must name the module's file")
    if problems:
        raise WrongUsage(_listed(f"{BUILD_FILE} cannot be used", problems))
    return Recipe(**{**raw, **{name: tuple(value) for name, value in lists.items()}})


def _listed(what: str, problems: list[str]) -> str:
    return "\n".join([f"{what}:", *(f"  - {problem}" for problem in problems)])
