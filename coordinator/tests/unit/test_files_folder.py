"""Bytes beside a backup: whole and under their own sum, or told as missing or damaged before anything is changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from archipelag_coordinator.adapters.files_folder import FilesFolder, FolderRefused, Listed
from archipelag_coordinator.domain.file import BlobId
from archipelag_coordinator.testing.builders import an_id

PASSPHRASE = b"correct horse battery"
BACKUP = sha256(b"the database's file").hexdigest()
TEXT = b"what a customer wrote, " * 100


def listed(data: bytes) -> Listed:
    return Listed(BlobId(an_id("blob")), sha256(data).hexdigest(), len(data))


def keep(folder: FilesFolder, data: bytes) -> Listed:
    one = listed(data)
    with folder.keeping(one) as into:
        into.write(data[:100])
        into.write(data[100:])
    return one


def stands(path: Path) -> list[Path]:
    return sorted(one for one in (path / "bytes").rglob("*") if one.is_file())


@pytest.fixture(params=[None, PASSPHRASE], ids=["plain", "sealed"])
def passphrase(request: pytest.FixtureRequest) -> bytes | None:
    found: bytes | None = request.param
    return found


@pytest.fixture
def folder(tmp_path: Path, passphrase: bytes | None) -> FilesFolder:
    return FilesFolder.made(tmp_path / "files", passphrase)


@pytest.mark.parametrize("data", [b"", b"x", TEXT, bytes(3 << 20)], ids=len)
def test_what_is_kept_comes_back_to_whoever_opens_it_anew(
    folder: FilesFolder, passphrase: bytes | None, data: bytes
) -> None:
    one = keep(folder, data)
    folder.note(BACKUP, [one])

    again = FilesFolder.found(folder.path, passphrase)

    assert again.has(one)
    assert again.checked(BACKUP) == [one]
    assert b"".join(again.read(one)) == data


def test_a_sealed_folder_tells_nothing(tmp_path: Path) -> None:
    folder = FilesFolder.made(tmp_path / "files", PASSPHRASE)
    one = keep(folder, TEXT)
    folder.note(BACKUP, [one])

    for path in (path for path in folder.path.rglob("*") if path.is_file()):
        data = path.read_bytes()
        assert TEXT[:50] not in data
        assert one.sha256 not in f"{path}{data!r}"
        assert one.blob.encode() not in data
        assert path.stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700


def test_equal_bytes_sealed_twice_are_not_equal(tmp_path: Path) -> None:
    sealed = []
    for name in ("one", "other"):
        folder = FilesFolder.made(tmp_path / name, PASSPHRASE)
        keep(folder, TEXT)
        sealed += [(path.name, path.read_bytes()) for path in stands(folder.path)]

    assert sealed[0][0] != sealed[1][0]
    assert sealed[0][1][40:] != sealed[1][1][40:]


def test_another_passphrase_or_none_is_refused_at_once(tmp_path: Path) -> None:
    FilesFolder.made(tmp_path / "sealed", PASSPHRASE)
    FilesFolder.made(tmp_path / "plain", None)

    for name, word, said in (
        ("sealed", b"another passphrase", "another passphrase"),
        ("sealed", None, "is encrypted"),
        ("plain", PASSPHRASE, "is not encrypted"),
        ("nothing", None, "is no folder"),
    ):
        with pytest.raises(FolderRefused, match=said):
            FilesFolder.found(tmp_path / name, word)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(FolderRefused, match="not empty"):
        FilesFolder.made(tmp_path, None)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def damages(path: Path) -> Iterator[str]:
    """Each leaves the file as it was."""
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    for name, spoilt in (("a bit", bytes(flipped)), ("its end", data[:-1]), ("all", b"")):
        path.write_bytes(spoilt)
        yield name
    path.unlink()
    yield "the file"
    path.write_bytes(data)


def test_whatever_is_damaged_is_named_and_the_rest_read_all_the_same(folder: FilesFolder) -> None:
    sound, spoilt = keep(folder, b"sound"), keep(folder, TEXT)
    (path,) = (path for path in stands(folder.path) if path.stat().st_size > 1_000)
    folder.note(BACKUP, [sound, spoilt])

    for what in damages(path):
        with pytest.raises(FolderRefused) as refused:
            folder.checked(BACKUP)
        assert "1 of 2 files" in str(refused.value), what
        assert spoilt.blob in str(refused.value), what
        assert sound.blob not in str(refused.value), what
        assert "Nothing was changed" in str(refused.value)
    assert folder.checked(BACKUP) == [sound, spoilt]


def test_one_that_was_exchanged_for_another_is_noticed(folder: FilesFolder) -> None:
    one, other = keep(folder, b"A" * 700), keep(folder, b"B" * 700)
    first, second = stands(folder.path)
    first.write_bytes(second.read_bytes())
    folder.note(BACKUP, [one, other])

    with pytest.raises(FolderRefused, match="1 of 2"):
        folder.checked(BACKUP)


def test_one_that_was_cut_off_is_copied_anew(folder: FilesFolder) -> None:
    one = keep(folder, TEXT)
    (path,) = stands(folder.path)
    path.write_bytes(path.read_bytes()[:-1])

    assert not folder.has(one)
    with folder.keeping(one) as into:
        into.write(TEXT)
    assert folder.has(one)
    assert b"".join(folder.read(one)) == TEXT


def test_bytes_that_are_not_of_their_sum_are_not_kept(folder: FilesFolder) -> None:
    one = listed(TEXT)

    with pytest.raises(FolderRefused), folder.keeping(one) as into:
        into.write(b"something else")

    assert not folder.has(one)
    assert stands(folder.path) == []


def test_a_disk_that_is_full_leaves_no_half_of_a_file(
    folder: FilesFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    one = listed(TEXT)

    with pytest.raises(OSError, match="No space"), folder.keeping(one) as into:
        into.write(TEXT)

    assert not folder.has(one)
    assert stands(folder.path) == []


@pytest.mark.parametrize(
    "hostile",
    [
        b"no list",
        b"{}",
        b'[{"blob": 5}]',
        json.dumps(
            [{"blob": "blob_" + "0" * 26, "sha256": "../../etc/passwd", "size_bytes": 1}]
        ).encode(),
        json.dumps([{"blob": "blob_>.*", "sha256": "a" * 64, "size_bytes": 1}]).encode(),
    ],
    ids=["words", "no list", "no name", "a path", "a subject"],
)
def test_a_list_that_somebody_wrote_names_nothing_outside(tmp_path: Path, hostile: bytes) -> None:
    folder = FilesFolder.made(tmp_path / "files", None)
    folder.note(BACKUP, [])
    (folder.path / "lists" / BACKUP).write_bytes(hostile)

    with pytest.raises(FolderRefused, match="list of this backup's files is damaged"):
        folder.checked(BACKUP)


def test_a_folder_without_this_backup_says_so(folder: FilesFolder) -> None:
    with pytest.raises(FolderRefused, match="has no files of this backup"):
        folder.checked(BACKUP)
