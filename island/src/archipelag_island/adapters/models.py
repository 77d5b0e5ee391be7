"""Weights on this disk, fetched by the engine's own package and checked here against the manifest."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from archipelag_contracts.manifest import Manifest

from archipelag_island.errors import ModelUnavailable

log = logging.getLogger(__name__)

FETCH_S: Final = 3600.0
OUTPUT_BYTES_MAX: Final = 1 << 20


class FetchedModels:
    """One fetch at a time: two Cargos may share a model."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
            path = self._folder / manifest.model.file
            wanted = manifest.model.sha256
            if path.exists() and await asyncio.to_thread(self._sha256, path) == wanted:
                return path
            fetched = await self._fetch(module, manifest)
            found = await asyncio.to_thread(self._sha256, fetched)
            if found != wanted:
                raise ModelUnavailable(
                    f"{fetched} is not {manifest.model.name}: its SHA-256 is {found}, not {wanted}"
                )
            return fetched

    async def _fetch(self, module: str, manifest: Manifest) -> Path:
        assert manifest.model is not None
        if not _has_fetcher(module):
            raise ModelUnavailable(
                f"{manifest.model.file} is not in {self._folder} and {module} cannot fetch it; "
                f"put the file there ({manifest.model.source or 'see the Cargo'})"
            )
        log.info("model_fetching model=%s source=%s", manifest.model.name, manifest.model.source)
        with tempfile.TemporaryDirectory(prefix="archipelag-fetch-") as folder:
            file = Path(folder) / "manifest.json"
            file.write_bytes(manifest.canonical())
            arguments = ["--manifest", str(file), "--model-dir", str(self._folder)]
            return await _run([sys.executable, "-m", f"{module}.fetch_model", *arguments])

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


def _has_fetcher(module: str) -> bool:
    try:
        return find_spec(f"{module}.fetch_model") is not None
    except ModuleNotFoundError:
        return False


async def _run(command: list[str]) -> Path:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(FETCH_S):
            out, err = await process.communicate()
    except TimeoutError:
        raise ModelUnavailable(f"fetching took more than {FETCH_S:.0f} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ModelUnavailable(f"fetching failed: {_last_line(err) or 'no message'}")
    return Path(_last_line(out))


def _last_line(data: bytes) -> str:
    lines = data[-OUTPUT_BYTES_MAX:].decode(errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else ""
