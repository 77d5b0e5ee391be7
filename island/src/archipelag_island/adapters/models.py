"""Weights on this disk, fetched by the engine's own package and checked here against the manifest."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from archipelag_contracts.manifest import Manifest, Model

from archipelag_island.errors import ModelUnavailable

log = logging.getLogger(__name__)

FETCH_S: Final = 3600.0
LOOK_S: Final = 0.5
OUTPUT_BYTES_MAX: Final = 1 << 20


class FetchedModels:
    """One fetch at a time: two Cargos may share a model.

    `over` says why so many bytes more may not be put on the disk; None: they may. It walks folders, so it is called in
    a thread.
    """

    def __init__(
        self,
        folder: Path,
        over: Callable[[int], str | None] = lambda _: None,
        pull: Callable[[Manifest, Path], Awaitable[Path]] | None = None,
    ) -> None:
        self._folder = folder
        self._over = over
        self._pull = pull
        self._turn = asyncio.Lock()
        self._checked: dict[Path, tuple[int, int, str]] = {}  # path → size, mtime_ns, sha256

    async def fetch(self, module: str, manifest: Manifest) -> Path:
        assert manifest.model is not None
        async with self._turn:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ModelUnavailable(
                    f"cannot use {self._folder} for models ({error.strerror}); set ARCHIPELAG_MODEL_DIR"
                ) from error
            wanted = manifest.model.sha256
            for path in self._places(manifest.model):
                if path.exists() and await asyncio.to_thread(self._sha256, path) == wanted:
                    return path
            needed = manifest.needs.disk_mb << 20
            if refusal := await asyncio.to_thread(self._over, needed):
                raise ModelUnavailable(refusal)
            pulled = manifest.model.source.startswith("oci:") and self._pull is not None
            fetched = await (self._pulled(manifest) if pulled else self._fetch(module, manifest))
            found = await asyncio.to_thread(self._sha256, fetched)
            if found != wanted:
                if pulled:
                    fetched.unlink(missing_ok=True)  # The name is another's to have.
                raise ModelUnavailable(
                    f"{fetched} is not {manifest.model.name}: its SHA-256 is {found}, not {wanted}"
                )
            return fetched

    def _places(self, model: Model) -> tuple[Path, Path]:
        """Under its own name, or, where that is taken, in a folder named by its hash."""
        return self._folder / model.file, self._folder / model.sha256 / model.file

    async def _pulled(self, manifest: Manifest) -> Path:
        assert manifest.model is not None and self._pull is not None
        plain, own = self._places(manifest.model)
        # What stands there may have been checked a moment ago for a Cargo that is about to load it.
        place = own if plain.exists() else plain
        try:
            place.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise ModelUnavailable(f"cannot use {place.parent}: {error.strerror}") from error
        return await self._pull(manifest, place.parent)

    async def _fetch(self, module: str, manifest: Manifest) -> Path:
        assert manifest.model is not None
        if not (fetcher := _fetcher(module)):
            raise ModelUnavailable(
                f"{manifest.model.file} is not in {self._folder} and {module or 'this Island'} cannot fetch it; "
                f"put the file there ({manifest.model.source or 'see the Cargo'})"
            )
        log.info("model_fetching model=%s source=%s", manifest.model.name, manifest.model.source)
        with tempfile.TemporaryDirectory(prefix="archipelag-fetch-") as folder:
            file = Path(folder) / "manifest.json"
            file.write_bytes(manifest.canonical())
            arguments = ["--manifest", str(file), "--model-dir", str(self._folder)]
            return await self._run([sys.executable, "-m", fetcher, *arguments], manifest.model.file)

    async def _run(self, command: list[str], file: str) -> Path:
        """Ends the fetcher as soon as it has put more on the disk than there may be."""
        before = set(self._folder.iterdir())
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        speaking = asyncio.create_task(process.communicate())
        refusal: str | None = None
        try:
            async with asyncio.timeout(FETCH_S):
                while not speaking.done():
                    await asyncio.wait([speaking], timeout=LOOK_S)
                    if refusal := await asyncio.to_thread(self._over, 0):
                        break
            if refusal:
                raise ModelUnavailable(refusal)
            out, err = speaking.result()
        except TimeoutError:
            raise ModelUnavailable(f"fetching took more than {FETCH_S:.0f} s") from None
        finally:
            # What it started ends with it.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await speaking
            if refusal:
                self._remove_parts(file, before)
        if process.returncode != 0:
            raise ModelUnavailable(f"fetching failed: {_last_line(err) or 'no message'}")
        return Path(_last_line(out))

    def _remove_parts(self, file: str, before: set[Path]) -> None:
        """A part that may not grow to the whole is of no use; its lock may be another's too and stays."""
        for path in set(self._folder.iterdir()) - before:
            if path.name.startswith((file, ".")) and path.suffix != ".lock":
                with suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _sha256(self, path: Path) -> str:
        """Of the file as it is; read again only when it has changed."""
        try:
            stat = path.stat()
            known = self._checked.get(path)
            if known is not None and known[:2] == (stat.st_size, stat.st_mtime_ns):
                return known[2]
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelUnavailable(f"cannot read {path}: {error.strerror}") from error
        self._checked[path] = (stat.st_size, stat.st_mtime_ns, found)
        return found


def _fetcher(module: str) -> str:
    """The engine's module that fetches, or none. Of a package with several engines it is the package's.

    That is asked first, since asking a module for a part of it imports the module.
    """
    for package in (module.rpartition(".")[0], module):
        with suppress(ModuleNotFoundError):
            if package and find_spec(f"{package}.fetch_model") is not None:
                return f"{package}.fetch_model"
    return ""


def _last_line(data: bytes) -> str:
    lines = data[-OUTPUT_BYTES_MAX:].decode(errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else ""
