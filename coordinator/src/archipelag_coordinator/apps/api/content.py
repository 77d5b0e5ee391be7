"""Sends a file's bytes: whole or a range, checked piece by piece, and never as something that a browser would run."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from archipelag_coordinator.apps.api.errors import RangeUnfit
from archipelag_coordinator.domain.file import File
from archipelag_coordinator.services.pieces import blob_of, read_range
from archipelag_coordinator.services.world import World

_RANGE: Final = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_SAFE: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-site",
}


@dataclass(frozen=True)
class Span:
    offset: int
    length: int


async def content_response(world: World, file: File, request: Request) -> Response:
    """Raises ContentLost while there is still a status to say so, RangeUnfit."""
    tag = f'"{file.sha256}"'
    headers = _SAFE | {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": disposition(file.name),
    }
    if tag in [one.strip() for one in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    span = span_of(request.headers.get("range", ""), file.size_bytes)
    unless = request.headers.get("if-range", tag)
    partly = span is not None and unless == tag
    span = span if partly and span is not None else Span(0, file.size_bytes)
    blob = await blob_of(world, file.blob_id, file.id)
    parts = read_range(world, blob, span.offset, span.length, file.id)
    first = await anext(parts, b"")
    headers["Content-Length"] = str(span.length)
    if partly:
        last = span.offset + span.length - 1
        headers["Content-Range"] = f"bytes {span.offset}-{last}/{file.size_bytes}"
    return StreamingResponse(
        _after(first, parts), 206 if partly else 200, headers, media_type=file.media_type
    )


async def _after(first: bytes, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A piece that is lost in the middle ends the connection short of its length: what is not whole looks so."""
    yield first
    async for part in parts:
        yield part


def span_of(given: str, size: int) -> Span | None:
    """None: the whole. What cannot be understood is as good as not said; several ranges are. Raises RangeUnfit."""
    found = _RANGE.fullmatch(given.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        offset = max(0, size - int(last))
        length = size - offset
    else:
        offset = int(first)
        length = min(size - 1, int(last) if last else size - 1) - offset + 1
        if last and int(last) < offset:
            return None
    if offset >= size or length <= 0:
        raise RangeUnfit(size)
    return Span(offset, length)


def disposition(name: str) -> str:
    """To be saved, under this name; in both spellings that programs know (RFC 6266)."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in " ._-()") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
