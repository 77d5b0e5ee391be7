"""Layers broken at random end in an error of ours or in a root, and never in anything outside it."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import pytest
from archipelag_oci.errors import OciError
from archipelag_oci.unpack import UnpackLimits, unpack

sys.path.insert(0, str(Path(__file__).parent))
import hostile as h

HONEST = [
    h.folder("a"),
    h.entry("a/b", b"x" * 700),
    h.hard_link("a/c", "a/b"),
    h.symlink("d", "a/b"),
    h.pax(("path", "a/" + "é" * 60), ("size", "3"), ("mtime", "1.5")),
    h.entry("e", b"123"),
    h.long_name("f/" + "g" * 120),
    h.entry("f", b"y"),
    h.entry("a/.wh.z"),
]
SPLICES = (
    b"../",
    b"/",
    b"\0",
    b"\xff",
    b"..",
    b".wh.",
    b"d/x",
    b"7777777",
    b"\x80\0\0\0\xff",
    b"-1",
)
LIMITS = UnpackLimits(bytes_max=100_000, files_max=50, layer_overhead_bytes_max=100_000)


@pytest.mark.parametrize("seed", range(12))
def test_broken_layers_end_in_an_error_of_ours_or_in_a_root(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    roots = tmp_path / "roots"
    before = _names(tmp_path)
    ended = {"root": 0, "error": 0}

    for number in range(25):
        layer = h.layer(tmp_path, *_broken(chance))
        try:
            unpack([layer], roots / str(number), limits=LIMITS)
            ended["root"] += 1
            shutil.rmtree(roots / str(number))
        except OciError:
            ended["error"] += 1
        assert list(roots.iterdir()) == [] and _names(tmp_path) - before <= {"layer", "roots"}

    assert ended["error"] > 0


def _broken(chance: random.Random) -> list[bytes]:
    """Some entries in some order; one or two have bytes changed, with a checksum that holds all the same."""
    parts = chance.sample(HONEST, chance.randint(2, len(HONEST)))
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(len(parts))
        block = bytearray(parts[at])
        splice = chance.choice(SPLICES)
        begin = chance.choice([0, 2, 100, 124, 136, 148, 156, 157, 257, 345, 512, 520])
        if begin + len(splice) <= len(block):
            block[begin : begin + len(splice)] = splice
        if chance.random() < 0.8:
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block[:512])
        parts[at] = bytes(block)
    return parts


def _names(folder: Path) -> set[str]:
    return {p.name for place in (folder, folder.parent) for p in place.iterdir()}
