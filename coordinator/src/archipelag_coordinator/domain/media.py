"""What kind of file it is, by its first bytes: a name or a sender's word can lie."""

from __future__ import annotations

from typing import Final

HEAD_BYTES: Final = 4096
"""So many of the first bytes decide."""
UNKNOWN: Final = "application/octet-stream"
TEXT: Final = "text/plain"

# Where, what, and what it then is. Longer signs before the shorter ones that they begin with.
_SIGNS: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"\xff\xf2", "audio/mpeg"),
    (0, b"\xff\xf1", "audio/aac"),
    (0, b"\xff\xf9", "audio/aac"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"FLV\x01", "video/x-flv"),
    (0, b"\x00\x00\x01\xba", "video/mpeg"),
    (0, b"\x00asm", "application/wasm"),
    (0, b"GGUF", "application/gguf"),
)
_RIFF: Final = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
_BRANDS: Final = {
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
    b"avif": "image/avif",
    b"heic": "image/heic",
    b"mif1": "image/heic",
}
_TEXTS: Final = frozenset(
    {"application/json", "text/csv", "text/markdown", "text/vtt", "application/x-subrip"}
)
_ENDINGS: Final = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "audio/wav": "wav",
}


def media_type_of(head: bytes, claimed: str = "") -> str:
    """By the first bytes. What is text may call itself one of a few kinds that no browser runs."""
    found = _found(head)
    said = claimed.partition(";")[0].strip().lower()
    return said if found == TEXT and said in _TEXTS else found


def _found(head: bytes) -> str:
    for at, sign, kind in _SIGNS:
        if head.startswith(sign, at) and (sign != b"BM" or head[6:10] == bytes(4)):
            return kind
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], UNKNOWN)
    if head[:4] == b"OggS":
        return "video/ogg" if b"theora" in head[:512] else "audio/ogg"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    return TEXT if _is_text(head[:HEAD_BYTES]) else UNKNOWN


def ending_of(media_type: str) -> str:
    return _ENDINGS.get(media_type, "bin")


def _is_text(head: bytes) -> bool:
    if not head or any(byte < 32 and byte not in (9, 10, 12, 13) for byte in head):
        return False
    for cut in range(4):  # The last character may have been cut in two.
        try:
            head[: len(head) - cut].decode()
        except UnicodeDecodeError:
            continue
        return True
    return False
