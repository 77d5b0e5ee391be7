"""The cache keeps what it was told to, forgets the rest in order, and trusts no file that changed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from archipelag_oci import cache as caching
from archipelag_oci.cache import BlobCache
from archipelag_oci.errors import CacheFull, DiskFull


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def put(cache: BlobCache, data: bytes, used_s: int | None = None) -> str:
    cache.put(digest(data), data)
    if used_s is not None:
        seen = cache._seen / digest(data).removeprefix("sha256:")
        os.utime(seen, (used_s, used_s))
    return digest(data)


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 3000)
    old, older, new = (
        put(cache, bytes([n]) * 1000, used_s) for n, used_s in ((1, 200), (2, 100), (3, 300))
    )

    cache.make_room(1000)
    assert cache.get(older) is None
    assert cache.get(old) is not None
    cache.make_room(2000)

    # `old` was used just now, by asking for it.
    assert cache.get(new) is None and cache.get(old) is not None


def test_pinned_blobs_stay_over_a_restart_until_they_are_let_go(tmp_path: Path) -> None:
    held = put(BlobCache(tmp_path, 2000), b"a" * 1000)
    BlobCache(tmp_path, 2000).pin("cargo-1", [held])
    put(BlobCache(tmp_path, 2000), b"b" * 1000)

    again = BlobCache(tmp_path, 2000)
    with pytest.raises(CacheFull, match="allow it more"):
        again.make_room(1500)
    assert again.get(held) is not None
    again.unpin("cargo-1")
    again.make_room(1500)

    assert again.get(held) is None


def test_changed_file_is_not_given_out(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 1 << 20)
    held = put(cache, b"a" * 1000)
    path = cache.get(held)
    assert path is not None

    stat = path.stat()
    path.write_bytes(b"b" * 1000)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert cache.get(held) is None
    assert not path.exists()


def test_blob_without_a_record_is_read_before_it_is_trusted(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 1 << 20)
    held = put(cache, b"a")
    record = tmp_path / "seen" / held.removeprefix("sha256:")
    for left in (b"", b"[1", b'{"a":1}'):
        record.write_bytes(left)
        assert cache.get(held) is not None
    (tmp_path / "blobs" / ("f" * 64)).write_bytes(b"planted")

    assert cache.get("sha256:" + "f" * 64) is None


def test_blob_larger_than_the_cache_is_refused_before_anything_goes(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 1000)

    with pytest.raises(CacheFull):
        put(cache, b"x" * 1001)

    assert cache.size_bytes() == 0


async def test_part_that_nobody_fills_gives_way_and_one_that_is_filled_does_not(
    tmp_path: Path,
) -> None:
    cache = BlobCache(tmp_path, 1000)
    abandoned, going_on = digest(b"1"), digest(b"2")
    async with cache.filling(abandoned, 400) as part:
        assert part is not None
        part.write_bytes(b"x" * 400)
    async with cache.filling(going_on, 400) as part:
        assert part is not None
        part.write_bytes(b"x" * 400)

        await asyncio.to_thread(cache.make_room, 500)
        assert cache.size_bytes() == 400 and part.exists()
        with pytest.raises(CacheFull):
            await asyncio.to_thread(cache.make_room, 700)


async def test_two_who_want_a_blob_fill_it_once(tmp_path: Path) -> None:
    caches = [BlobCache(tmp_path, 1 << 20) for _ in range(4)]
    data = b"x" * 1000
    filled = 0

    async def want(cache: BlobCache) -> Path | None:
        nonlocal filled
        async with cache.filling(digest(data), len(data)) as part:
            if part is not None:
                filled += 1
                await asyncio.sleep(0.01)
                part.write_bytes(data)
                cache.admit(digest(data), part)
        return cache.get(digest(data))

    paths = await asyncio.gather(*(want(cache) for cache in caches))

    assert filled == 1 and all(path and path.read_bytes() == data for path in paths)


def test_another_process_sees_and_fills_the_same_cache(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from archipelag_oci.cache import BlobCache
cache = BlobCache(Path(sys.argv[1]), 1 << 20)
import hashlib
for number in range(50):
    data = bytes([number]) * 20_000
    cache.put("sha256:" + hashlib.sha256(data).hexdigest(), data)
"""
    command = [sys.executable, "-c", program, str(tmp_path)]

    started = [subprocess.Popen(command) for _ in range(2)]

    assert [process.wait(60) for process in started] == [0, 0]
    cache = BlobCache(tmp_path, 1 << 20)
    assert cache.get(digest(bytes([49]) * 20_000)) is not None
    assert 0 < cache.size_bytes() <= 1 << 20
    assert list((tmp_path / "parts").iterdir()) == []


def test_full_disk_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = BlobCache(tmp_path, 1 << 20)

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.os, "fsync", full)

    with pytest.raises(DiskFull, match="free some space"):
        put(cache, b"x")

    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "lock"]
