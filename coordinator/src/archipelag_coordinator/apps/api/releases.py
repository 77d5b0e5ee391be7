"""Releases of the Island's own software, as an operator laid them into a folder: for Islands and for the installer.

Nothing of it needs trust here: who takes a file verifies it by a key that this process does not have.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from archipelag_coordinator.errors import NotFound

NAMES: Final = re.compile(
    r"sha256-[0-9a-f]{64}|(release\.json|install\.sh|launch\.sh|archipelag-island\.service)(\.sig)?"
)

router = APIRouter()


@router.get("/releases/{name}")
def get_release(name: str, request: Request) -> Response:
    """A file that the folder has under a name that can be one of these, and nothing else of that disk."""
    folder: Path | None = request.app.state.settings.releases
    if folder is None:
        raise NotFound("release", name)
    path = folder / name
    if not NAMES.fullmatch(name) or path.is_symlink() or not path.is_file():
        raise NotFound("release", name)
    # By its digest, a file never changes; the rest is asked for anew.
    lasting = name.startswith("sha256-")
    cached = "public, max-age=31536000, immutable" if lasting else "no-cache"
    return FileResponse(
        path, media_type="application/octet-stream", headers={"cache-control": cached}
    )
