"""What the pages load: read once, named by its content, so that a browser may keep it for ever."""

from __future__ import annotations

import gzip
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

FOLDER: Final = Path(__file__).parent / "static"
KEPT_S: Final = 365 * 24 * 3600
PRESSED: Final = frozenset({".css", ".js", ".svg", ".txt"})
"""Fonts and pictures are pressed by themselves."""
HASH_LENGTH: Final = 12
IMPORT: Final = re.compile(rb'(\bfrom ")(\./[\w./-]+\.js)(")')
"""How our scripts name each other."""
_TYPES: Final = {".js": "text/javascript", ".woff2": "font/woff2", ".css": "text/css"}


@dataclass(frozen=True)
class Asset:
    """`name` carries its hash; `pressed` is its gzip, empty where that is no smaller."""

    name: str
    data: bytes
    pressed: bytes
    media_type: str
    etag: str


class Assets:
    """All of them, in memory: a few hundred kilobytes."""

    def __init__(self, folder: Path = FOLDER) -> None:
        folder = folder.resolve()
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        # What names others is hashed last, when their names stand.
        late = [path for path in found if path.suffix == ".css"]
        late += in_order({path: path.read_text() for path in found if path.suffix == ".js"})
        self._folder = folder.resolve()
        self._names: dict[str, str] = {}
        self._assets: dict[str, Asset] = {}
        for path in [*(one for one in found if one not in late), *late]:
            self._take(path, path.relative_to(folder).as_posix())

    def url(self, name: str) -> str:
        """Raises KeyError for what is not there: a mistake in a template."""
        return f"/static/{self._names[name]}"

    def find(self, name: str) -> Asset | None:
        return self._assets.get(name)

    def text(self, name: str) -> str:
        """A file to be set into a page."""
        return self._assets[self._names[name]].data.decode()

    def _take(self, path: Path, name: str) -> None:
        data = path.read_bytes()
        if path.suffix == ".css":
            for known, hashed in self._names.items():
                data = data.replace(f"url({known})".encode(), f"url(/static/{hashed})".encode())
        if path.suffix == ".js":
            data = IMPORT.sub(partial(self._named, path), data)
        digest = sha256(data).hexdigest()[:HASH_LENGTH]
        stem, dot, ending = name.rpartition(".")
        hashed = f"{stem}.{digest}{dot}{ending}" if dot else f"{name}.{digest}"
        pressed = gzip.compress(data, 9, mtime=0) if path.suffix in PRESSED else b""
        self._names[name] = hashed
        self._assets[hashed] = Asset(
            hashed,
            data,
            pressed if len(pressed) < len(data) else b"",
            _TYPES.get(path.suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream",
            f'"{digest}"',
        )

    def _named(self, path: Path, found: re.Match[bytes]) -> bytes:
        """An import by the name that carries the other script's hash. Raises KeyError for what is not there."""
        wanted = (path.parent / found[2].decode()).resolve().relative_to(self._folder)
        return found[1] + self.url(wanted.as_posix()).encode() + found[3]


def in_order(scripts: Mapping[Path, str]) -> list[Path]:
    """Scripts after those that they import."""
    ordered: list[Path] = []

    def take(path: Path, within: frozenset[Path]) -> None:
        assert path not in within, f"scripts import each other in a ring: {path.name}"
        if path in ordered or path not in scripts:
            return
        for found in IMPORT.finditer(scripts[path].encode()):
            take((path.parent / found[2].decode()).resolve(), within | {path})
        ordered.append(path)

    for path in sorted(scripts):
        take(path, frozenset())
    return ordered


def serve(assets: Assets, request: Request) -> Response | None:
    """None where there is no such file, or no longer: a page of today names today's."""
    asset = assets.find(request.path_params["name"])
    if asset is None:
        return None
    headers = {
        "Cache-Control": f"public, max-age={KEPT_S}, immutable",
        "ETag": asset.etag,
        "Vary": "Accept-Encoding",
    }
    if request.headers.get("if-none-match") == asset.etag:
        return Response(status_code=304, headers=headers)
    if asset.pressed and "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(asset.pressed, headers=headers, media_type=asset.media_type)
    return Response(asset.data, headers=headers, media_type=asset.media_type)
