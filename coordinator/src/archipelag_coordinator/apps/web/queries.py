"""What stands behind the question mark of a page's address: read within bounds, and nonsense is left out."""

from __future__ import annotations

from collections.abc import Container

from starlette.requests import Request


def word_in(request: Request, name: str, words: Container[str], fallback: str = "") -> str:
    """One of these words, or the fallback."""
    given = request.query_params.get(name, "")
    return given if given in words else fallback


def count_in(request: Request, name: str, most: int, fallback: int = 0) -> int:
    """From 0 up; the fallback for what is no number."""
    given = request.query_params.get(name, "")
    if not given.isascii() or not given.isdigit() or len(given) > 12:
        return fallback
    return min(int(given), most)


def text_in(request: Request, name: str, length_max: int = 100) -> str:
    return request.query_params.get(name, "").strip()[:length_max].replace("\0", "")
