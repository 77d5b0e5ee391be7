"""Names in a layer, as lists of parts that stay within a root."""

from __future__ import annotations

from typing import Final

from archipelag_oci.errors import TooLarge, UnsafeLayer

PATH_BYTES_MAX: Final = 4096
PART_BYTES_MAX: Final = 255
DEPTH_MAX: Final = 64

WHITEOUT: Final = ".wh."
OPAQUE: Final = ".wh..wh..opq"


def split(name: str) -> tuple[str, ...]:
    """The parts of an entry's name; empty for the root itself. Raises UnsafeLayer, TooLarge."""
    _check_text(name, "a name")
    if name.startswith("/"):
        raise UnsafeLayer(f"{shown(name)} is absolute")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise UnsafeLayer(f"{shown(name)} climbs out of its folder")
    if len(parts) > DEPTH_MAX:
        raise TooLarge(f"{shown(name)} lies {len(parts)} folders deep; {DEPTH_MAX} at most")
    for part in parts:
        if len(part.encode()) > PART_BYTES_MAX:
            raise TooLarge(f"{shown(part)} has a longer name than {PART_BYTES_MAX} bytes")
    return parts


def check_symlink(parts: tuple[str, ...], target: str) -> None:
    """A relative target may not climb above the root. An absolute one means the root's own, where it is looked up: in
    the sandbox. Here no link is ever followed."""
    _check_text(target, "a link's target")
    if not target:
        raise UnsafeLayer(f"{shown('/'.join(parts))} links to nothing")
    level = 0 if target.startswith("/") else len(parts) - 1
    for part in target.split("/"):
        if part == "..":
            level -= 1
        elif part not in ("", "."):
            level += 1
        if level < 0:
            raise UnsafeLayer(f"{shown('/'.join(parts))} links out of the root")


def shown(name: str) -> str:
    """A stranger's name, harmless in a log."""
    return ascii(name if len(name) <= 80 else name[:77] + "…")


def _check_text(text: str, what: str) -> None:
    if "\0" in text:
        raise UnsafeLayer(f"{what} with a NUL in it")
    if len(text.encode()) > PATH_BYTES_MAX:
        raise TooLarge(f"{what} of more than {PATH_BYTES_MAX} bytes")
