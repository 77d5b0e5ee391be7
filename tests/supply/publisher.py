"""A publisher with a registry: builds, signs and pushes each Cargo of the repository by its authors' own commands."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import Final

import archipelag_island
import pytest
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.manifest import Manifest, parse_canonical
from archipelag_kit.commands import collecting, main
from archipelag_kit.commands.folder import MANIFEST
from archipelag_kit.drafts import parse_draft
from archipelag_llm_chat.errors import ModelUnavailable
from archipelag_llm_chat.fetch_model import fetch_model
from archipelag_oci import image, media, signatures
from archipelag_oci.push import push_artifact
from archipelag_oci.reference import parse, sha256
from archipelag_oci.registry import Registry
from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parents[2]
MODELS: Final = ROOT / ".venv" / "models"
_LEFT: Final = shutil.ignore_patterns("tests", "training", "build", "__pycache__", "*.egg-info")
_PIN: Final = re.compile(r"^([a-zA-Z0-9][^\\\n]*==[^\\\n]*)", re.MULTILINE)
_SOURCE: Final = re.compile(r'^source = "[^"]*"$', re.MULTILINE)
ECHO_BUILD: Final = """
kind = "command"
command = ["python3", "-m", "archipelag_island.testing.echo_engine"]
packages = ["archipelag-kit"]
"""


@dataclass
class Publisher:
    """One registry, one key, and one folder of layers for all, as an author's machine has."""

    address: str
    store: Path
    """Where the registry keeps its bytes: for whoever tampers with them."""
    work: Path
    key: CosignKey = field(init=False)
    _pushed: dict[str, Manifest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.command("keygen")
        self.key = CosignKey.from_pem((self.work / "cargo.key").read_bytes())

    def published(self, slug: str) -> Manifest:
        """What an Island gets to know of a Cargo, once it lies in the registry. Skips where engines are missing."""
        if slug not in self._pushed:
            folder = self.work / slug
            shutil.rmtree(folder, ignore_errors=True)
            self._lay_out(slug, folder)
            for name in ("build", "sign", "push"):
                self.command(name, str(folder), "--json")
            built = parse_canonical((folder / "build" / "manifest.json").read_bytes())
            # The layers stay with the other layers, and the registry has them.
            shutil.rmtree(folder / "build")
            self._pushed[slug] = built
        return self._pushed[slug]

    def command(self, *arguments: str) -> None:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("XDG_CACHE_HOME", str(self.work / "cache"))
            environment.setenv("ARCHIPELAG_CARGO_KEY", str(self.work / "cargo.key"))
            environment.setenv("ARCHIPELAG_REGISTRY", self.address)
            environment.delenv("ARCHIPELAG_CARGO_PASSPHRASE", raising=False)
            # Packing takes most of the time here, and how tightly is nothing that these tests look at.
            environment.setattr(image, "GZIP_LEVEL", 1)
            assert main(arguments) == 0, f"archipelag cargo {' '.join(arguments)}"

    def _lay_out(self, slug: str, folder: Path) -> None:
        if slug == "echo":
            _lay_out_echo(folder)
            return
        source = ROOT / "cargos" / slug
        if not source.is_dir():
            source = ROOT / "cargos" / "wasm" / slug
        shutil.copytree(source, folder, ignore=_LEFT)
        if (folder / "requirements.txt").exists():
            self._install(folder)
        manifest = folder / MANIFEST
        if "[model]" in (text := manifest.read_text()):
            manifest.write_text(_SOURCE.sub(f'source = "{self._model(source)}"', text, count=1))

    def _install(self, folder: Path) -> None:
        """What the lock names is installed here already, from the same lock: no test downloads it again."""
        lock = (folder / "requirements.txt").read_bytes()
        python = f"{sys.version_info.major}{sys.version_info.minor}"
        key = sha256(lock).removeprefix("sha256:")[:16]
        target = folder / "build" / f"installed-{python}-{key}"
        target.parent.mkdir()
        names = _pinned(lock.decode())
        collected = collecting.collect(names, self.work / "installed")
        for name in names:
            # pip leaves it, and llm-chat looks into it.
            record = next(file for file in files(name) or () if file.name == "RECORD")
            shutil.copy2(str(record.locate()), collected / record)
        target.symlink_to(collected)

    def _model(self, source: Path) -> str:
        """The weights as an artifact of their own, signed; its reference as manifests say it."""
        model = parse_draft((source / MANIFEST).read_text()).model
        assert model is not None
        try:
            file = fetch_model(model, MODELS)
        except ModelUnavailable as why:
            pytest.skip(f"needs the weights of {model.name}: {why}")
        return asyncio.run(self.push_model(file, model.file))

    async def push_model(self, data: Path | bytes, title: str) -> str:
        where = parse(f"{self.address}/models/{title.lower()}:latest")
        async with Registry() as registry:
            digest = await push_artifact(registry, where, data, media.MODEL, title=title)
            await signatures.sign(registry, where.at(digest), self.key)
        return f"oci:models/{title.lower()}@{digest}"


def _lay_out_echo(folder: Path) -> None:
    package = Path(str(archipelag_island.__file__)).parent
    shutil.copytree(package, folder / "src" / "archipelag_island", ignore=_LEFT)
    shutil.copy(package / "testing" / "echo_engine" / "manifest.toml", folder)
    (folder / "build.toml").write_text(ECHO_BUILD)


def _pinned(lock: str) -> list[str]:
    """Names of the packages of a lock for this machine. Skips where another version of one is installed."""
    names = []
    for line in _PIN.findall(lock):
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            pytest.skip(f"needs the Cargos' engines: {wanted.name} is not installed")
        assert found in wanted.specifier, f"{wanted} is locked, {found} installed: `make lock`"
        names.append(wanted.name)
    return names
