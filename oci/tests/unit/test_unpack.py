"""Hostile layers are refused with nothing left and nothing touched outside; honest ones come out whole."""

from __future__ import annotations

import gzip
import os
import stat
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
import zstandard
from archipelag_oci import unpack as unpacking
from archipelag_oci.errors import BadDocument, DiskFull, OciError, TooLarge, UnsafeLayer
from archipelag_oci.pull import Layer
from archipelag_oci.unpack import UnpackLimits, unpack

sys.path.insert(0, str(Path(__file__).parent))
import hostile as h

HOSTILE = {
    "absolute name": [h.entry("/etc/passwd", b"x")],
    "name that climbs": [h.entry("../outside", b"x")],
    "name that climbs later": [h.entry("a/../../outside", b"x")],
    "name that climbs and comes back": [h.entry("a/../b", b"x")],
    "PAX path that climbs": [h.pax(("path", "../outside")), h.entry("a", b"x")],
    "GNU long name that climbs": [h.long_name("../outside"), h.entry("a", b"x")],
    "prefix that climbs": [h.entry("outside", b"x", prefix=b"..")],
    "through a link out": [h.symlink("a", "/"), h.entry("a/outside", b"x")],
    "through a link within": [h.folder("b"), h.symlink("a", "b"), h.entry("a/x", b"x")],
    "folder through a link": [h.symlink("a", "/"), h.folder("a/outside")],
    "link through a link": [h.symlink("a", "/"), h.symlink("a/outside", "b")],
    "link that climbs": [h.symlink("a", "../../etc/passwd")],
    "link that climbs from the root": [h.symlink("a", "/../etc")],
    "link to nothing": [h.symlink("a", "")],
    "hard link out": [h.hard_link("a", "../outside")],
    "hard link to an absolute name": [h.hard_link("a", "/etc/passwd")],
    "hard link to what is not there": [h.hard_link("a", "b")],
    "hard link to a symbolic link": [h.symlink("b", "/etc/passwd"), h.hard_link("a", "b")],
    "hard link through a link": [h.symlink("b", "/etc"), h.hard_link("a", "b/passwd")],
    "hard link to a folder": [h.folder("b"), h.hard_link("a", "b")],
    "hard link to itself": [h.entry("b/a", b"x"), h.hard_link("b", "b/a")],
    "character device": [h.entry("dev/mem", kind=b"3")],
    "block device": [h.entry("dev/sda", kind=b"4")],
    "FIFO": [h.entry("a", kind=b"6")],
    "GNU sparse file": [h.entry("a", kind=b"S")],
    "PAX sparse file": [h.pax(("GNU.sparse.realsize", "1099511627776")), h.entry("a")],
    "volume": [h.entry("a", kind=b"M")],
    "unknown kind": [h.entry("a", kind=b"Z")],
    "file capability": [h.pax(("SCHILY.xattr.security.capability", "x")), h.entry("a", b"x")],
    "file capability by another name": [
        h.pax(("LIBARCHIVE.xattr.security.capability", "x")),
        h.entry("a"),
    ],
    "access list": [h.pax(("SCHILY.acl.access", "user::rwx")), h.entry("a")],
    "same name twice": [h.entry("a", b"1"), h.entry("a", b"2")],
    "same name twice, written otherwise": [h.entry("a", b"1"), h.entry("./a", b"2")],
    "file that was a folder": [h.entry("a/b", b"1"), h.entry("a", b"2")],
    "link that was a folder": [h.entry("a/b", b"1"), h.symlink("a", "/")],
    "NUL in a name": [h.pax(("path", "a\0b")), h.entry("a", b"x")],
    "name that is not UTF-8": [h.entry(b"a\xff", b"x")],
    "global header with a path": [h.pax(("path", "a"), kind=b"g"), h.entry("b", b"x")],
    "PAX header that is none": [h.entry("pax", b"9999 path=a\n", kind=b"x"), h.entry("b")],
    "PAX header that says a thing twice": [h.pax(("path", "a"), ("path", "../b")), h.entry("c")],
    "PAX size of no number": [h.pax(("size", "-5")), h.entry("a", b"x")],
    "headers without end": [h.pax(("comment", "x")) * 9, h.entry("a")],
    "header without an entry": [h.pax(("path", "a"))],
    "folder with content": [h.entry("a", b"x", kind=b"5")],
    "checksum that does not hold": [b"\1" + h.entry("a", b"x")[1:]],
    "negative size": [h.header("a", size_field=b"\xff" * 12)],
    "size of no number": [h.header("a", size_field=b"00000000xyz\0")],
    "whiteout with content": [h.entry(".wh.a", b"x")],
    "whiteout that is a link": [h.symlink(".wh.a", "b")],
    "whiteout of nothing": [h.entry(".wh.")],
    "whiteout of the folder": [h.entry("a/.wh...")],
    "whiteout through a link": [h.symlink("a", "/"), h.entry("a/.wh.etc")],
    "below a whiteout": [h.entry(".wh.a/b", b"x")],
    "root that is a link": [h.symlink(".", "/")],
    "mount point that is a link": [h.symlink("tmp", "/etc")],
    "mount point that is a file": [h.entry("proc", b"x")],
    "mount point below a link": [h.symlink("run", "/etc")],
    "PAX header too large": [h.pax(("comment", "x" * 70_000)), h.entry("a")],
    "GNU long name too large": [h.long_name("x" * 9000), h.entry("a")],
    "name too long": [h.long_name("x/" * 40 + "y" * 256), h.entry("a", b"x")],
    "path too long": [h.pax(("path", ("y" * 200 + "/") * 25 + "z")), h.entry("a", b"x")],
    "too deep": [h.long_name("x/" * 70 + "y"), h.entry("a", b"x")],
    "link's target too long": [h.pax(("linkpath", "y" * 5000)), h.symlink("a", "b")],
    "more bytes announced than there may be": [h.header("a", size_field=b"77777777777\0")],
}


@pytest.mark.parametrize("parts", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_layer_is_refused_and_nothing_is_left(parts: list[bytes], tmp_path: Path) -> None:
    target = tmp_path / "images" / "root"
    layer = h.layer(tmp_path, *parts)
    outside = _outside(tmp_path)

    with pytest.raises((UnsafeLayer, TooLarge)) as refused:
        unpack([layer], target, limits=UnpackLimits(bytes_max=1 << 20))

    assert str(refused.value)
    assert list((tmp_path / "images").iterdir()) == []
    assert _outside(tmp_path) == outside


@pytest.mark.parametrize("lower", [h.symlink("a", "/"), h.symlink("a", "b") + h.folder("b")])
def test_link_of_a_lower_layer_is_not_followed(lower: bytes, tmp_path: Path) -> None:
    layers = [h.layer(tmp_path, lower), h.layer(tmp_path, h.entry("a/x", b"x"), name="upper")]

    with pytest.raises(UnsafeLayer, match=r"layer 1: .*link"):
        unpack(layers, tmp_path / "root")


@pytest.mark.parametrize("compression", ["tar", "gzip", "zstd"])
def test_honest_layer_comes_out_whole(compression: str, tmp_path: Path) -> None:
    layer = h.layer(
        tmp_path,
        h.folder("./"),
        h.folder("bin", 0o700),
        h.entry("bin/tool", b"#!", mode=0o4700),
        h.hard_link("bin/same", "bin/tool"),
        h.symlink("bin/link", "../etc/conf"),
        h.symlink("mtab", "/proc/mounts"),
        h.pax(("path", "etc/" + "ü" * 100), ("mtime", "-1.5"), ("SCHILY.xattr.user.note", "x")),
        h.entry("short", b"long"),
        h.long_name("etc/" + "n" * 120),
        h.entry("short", b"gnu"),
        h.entry("secret", b"s", mode=0o600),
        h.folder("tmp", 0o1777),
        h.folder("open", 0o777),
        compression=compression,
    )

    done = unpack([layer], tmp_path / "root")

    root = done.folder
    assert (root / "bin/same").stat().st_ino == (root / "bin/tool").stat().st_ino
    assert (root / "bin/link").readlink() == Path("../etc/conf")
    assert (root / "etc" / ("ü" * 100)).read_bytes() == b"long"
    assert (root / "etc" / ("n" * 120)).read_bytes() == b"gnu"
    assert {path.name for path in root.iterdir()} >= {"proc", "sys", "dev", "run", "tmp"}
    modes = {name: stat.S_IMODE((root / name).stat().st_mode) for name in ("bin", "open", "tmp")}
    assert modes == {"bin": 0o755, "open": 0o755, "tmp": 0o1777}
    assert stat.S_IMODE((root / "bin/tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "secret").stat().st_mode) == 0o644
    assert stat.S_IMODE(root.stat().st_mode) == 0o755


def test_archives_of_the_standard_library_are_read(tmp_path: Path) -> None:
    for number, kind in enumerate((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        buffer = BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
            for name in ("a", "b/" + "x" * 90 + "/" + "y" * 90):
                member = tarfile.TarInfo(name)
                member.size, member.mode, member.mtime = 700, 0o755, 12
                archive.addfile(member, BytesIO(b"z" * 700))

        done = unpack([h.packed(tmp_path, buffer.getvalue())], tmp_path / f"root{number}")

        long = done.folder / "b" / ("x" * 90) / ("y" * 90)
        assert long.read_bytes() == b"z" * 700 and long.stat().st_mtime == 12


def test_upper_layers_replace_and_white_out_lower_ones(tmp_path: Path) -> None:
    lower = h.layer(
        tmp_path,
        *(h.entry(name, b"1") for name in ("a/one", "a/two", "b/one", "b/deep/two", "c", "d/e")),
        name="lower",
    )
    upper = h.layer(
        tmp_path,
        h.entry("b/new", b"2"),
        h.entry("b/.wh..wh..opq"),
        h.entry("b/deep/new", b"2"),
        h.entry("a/.wh.one"),
        h.entry(".wh.nothing"),
        h.folder("c"),
        h.entry("c/in", b"2"),
        h.entry("d", b"2"),
        name="upper",
    )

    root = unpack([lower, upper], tmp_path / "root").folder

    names = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
    assert names == ["a/two", "b/deep/new", "b/new", "c/in", "d"]


def test_whiteout_spares_what_its_own_layer_brings(tmp_path: Path) -> None:
    lower = h.layer(tmp_path, h.entry("a/old", b"1"), name="lower")
    upper = h.layer(tmp_path, h.entry("a/new", b"2"), h.entry(".wh.a"), name="upper")

    root = unpack([lower, upper], tmp_path / "root").folder

    assert [p.name for p in (root / "a").iterdir()] == ["new"]


def test_layer_that_is_not_what_the_config_says_is_refused(tmp_path: Path) -> None:
    layer = h.layer(tmp_path, h.entry("a", b"x"))

    with pytest.raises(BadDocument):
        unpack([Layer(layer.path, layer.compression, "sha256:" + "0" * 64)], tmp_path / "root")

    assert not (tmp_path / "root").exists()


def test_bytes_after_the_end_belong_to_the_digest(tmp_path: Path) -> None:
    layer = h.layer(tmp_path, h.entry("a", b"x"))
    layer.path.write_bytes(layer.path.read_bytes() + bytes(512))

    with pytest.raises(BadDocument):
        unpack([layer], tmp_path / "root")


def test_file_cut_short_is_refused(tmp_path: Path) -> None:
    whole = h.entry("a", b"x" * 5000)
    for compression in ("tar", "gzip", "zstd"):
        layer = h.packed(tmp_path, whole[:2000], compression=compression)

        with pytest.raises(UnsafeLayer, match="ends in the middle"):
            unpack([layer], tmp_path / "root")


def test_packed_bytes_cut_short_or_spoilt_are_refused(tmp_path: Path) -> None:
    for compression in ("gzip", "zstd"):
        layer = h.layer(tmp_path, h.entry("a", os.urandom(50_000)), compression=compression)
        data = layer.path.read_bytes()
        for spoilt in (data[:-20_000], data[:9000] + bytes(8) + data[9008:], b"none" + data):
            layer.path.write_bytes(spoilt)

            with pytest.raises((UnsafeLayer, BadDocument)):
                unpack([layer], tmp_path / "root")


def test_gzip_of_several_members_is_read(tmp_path: Path) -> None:
    tar = h.entry("a", b"x") + bytes(1024)
    layer = h.packed(tmp_path, tar)
    layer.path.write_bytes(gzip.compress(tar[:700]) + gzip.compress(tar[700:]))

    root = unpack([Layer(layer.path, "gzip", layer.diff_id)], tmp_path / "root").folder

    assert (root / "a").read_bytes() == b"x"


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_bomb_is_refused_long_before_it_fills_the_disk(compression: str, tmp_path: Path) -> None:
    size = 200 << 20
    path = tmp_path / "bomb"
    with path.open("wb") as raw:
        if compression == "gzip":
            out = gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=9)
        else:
            out = zstandard.ZstdCompressor().stream_writer(raw, closefd=False)
        out.write(h.header("a", size=size))
        for _ in range(size >> 20):
            out.write(bytes(1 << 20))
        out.close()

    with pytest.raises(TooLarge, match="bomb"):
        unpack([Layer(path, compression, "sha256:" + "0" * 64)], tmp_path / "root")


def test_zstd_window_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "layer"
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    path.write_bytes(
        zstandard.ZstdCompressor(compression_params=parameters).compress(bytes(1 << 27))
    )

    with pytest.raises(UnsafeLayer, match="cannot be unpacked"):
        unpack([Layer(path, "zstd", "sha256:" + "0" * 64)], tmp_path / "root")


def test_millions_of_files_are_refused(tmp_path: Path) -> None:
    layer = h.layer(tmp_path, *(h.entry(f"{i}") for i in range(60)))

    with pytest.raises(TooLarge, match="50 files"):
        unpack([layer], tmp_path / "root", limits=UnpackLimits(files_max=50))


def test_folders_that_names_imply_are_counted(tmp_path: Path) -> None:
    layer = h.layer(tmp_path, *(h.entry(f"{i}/a/b/c", b"x") for i in range(20)))

    with pytest.raises(TooLarge, match="50 files"):
        unpack([layer], tmp_path / "root", limits=UnpackLimits(files_max=50))


def test_headers_alone_cannot_fill_the_disk(tmp_path: Path) -> None:
    layer = h.layer(tmp_path, *(h.pax(("comment", "x" * 5000)) + h.entry(f"{i}") for i in range(9)))
    limits = UnpackLimits(bytes_max=1000, layer_overhead_bytes_max=20_000)

    with pytest.raises(TooLarge, match="21000 bytes"):
        unpack([layer], tmp_path / "root", limits=limits)


def test_limit_is_of_all_layers_together(tmp_path: Path) -> None:
    layers = [h.layer(tmp_path, h.entry(name, b"x" * 600), name=name) for name in ("a", "b")]

    with pytest.raises(TooLarge, match="layer 1"):
        unpack(layers, tmp_path / "root", limits=UnpackLimits(bytes_max=1000))


def test_full_disk_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    layer = h.layer(tmp_path, h.entry("a", b"x"))
    monkeypatch.setattr(unpacking.os, "write", full)

    with pytest.raises(DiskFull, match="free some space"):
        unpack([layer], tmp_path / "images" / "root")

    monkeypatch.undo()
    assert list((tmp_path / "images").iterdir()) == []


def test_root_that_stands_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()

    with pytest.raises(FileExistsError):
        unpack([h.layer(tmp_path, h.entry("a"))], tmp_path / "root")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives files away")
def test_owner_gets_all_of_it(tmp_path: Path) -> None:
    layer = h.layer(
        tmp_path,
        h.entry("a/b/file", b"x"),
        h.symlink("a/link", "b"),
        h.hard_link("hard", "a/b/file"),
    )

    root = unpack([layer], tmp_path / "root", owner=(54321, 54322)).folder

    for path in (root, *root.rglob("*")):
        assert path.lstat().st_uid == 54321 and path.lstat().st_gid == 54322, path


def test_every_error_has_a_code_and_a_text() -> None:
    for error in (UnsafeLayer, TooLarge, BadDocument, DiskFull):
        assert issubclass(error, OciError) and error.code


def _outside(folder: Path) -> list[str]:
    """What a layer that escapes would change here."""
    places = (folder, folder.parent)
    return sorted(p.name for place in places for p in place.iterdir() if p.name != "images")
