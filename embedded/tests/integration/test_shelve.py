"""WASM Cargos on their way into a network's own registry: pushed once, signed, and named by digest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.manifest import parse_canonical
from archipelag_embedded.registry import Registry as Server
from archipelag_embedded.shelve import main, shelve
from archipelag_oci import signatures
from archipelag_oci.errors import NotSigned
from archipelag_oci.reference import parse
from archipelag_oci.registry import Registry

KEY = CosignKey.generate()
MANIFEST = """
slug = "nothing"
version = "1.0.0"
name = "Nothing"
description = "Does nothing."
license = "Apache-2.0"
kind = "json"
runtime = "wasm"
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    server = Server(tmp_path / "r", log=tmp_path / "registry.log")
    yield server.start()
    server.stop()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    folder = tmp_path / "nothing"
    folder.mkdir()
    (folder / "nothing.wasm").write_bytes(b"\0asm\x01\0\0\0")
    (folder / "manifest.toml").write_text(MANIFEST)
    return folder / "manifest.toml"


async def put(registry: str, written: Path, tmp_path: Path) -> Path:
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    (made,) = await shelve(registry, KEY, out, [written])
    return made


async def test_a_module_is_pushed_signed_and_named(
    registry: str, written: Path, tmp_path: Path
) -> None:
    made = parse_canonical((await put(registry, written, tmp_path)).read_bytes().strip())

    assert made.image is not None and made.image.repository == "archipelag/nothing"
    async with Registry() as client:
        there = parse(f"{made.image.repository}@{made.image.digest}", registry)
        found = await signatures.verify(client, there, (KEY.public,))
        assert found.public == KEY.public
        with pytest.raises(NotSigned):
            await signatures.verify(client, there, (CosignKey.generate().public,))


async def test_what_stands_is_left_alone(registry: str, written: Path, tmp_path: Path) -> None:
    made = await put(registry, written, tmp_path)
    before = made.stat().st_mtime_ns

    again = await put(registry, written, tmp_path)

    assert again.stat().st_mtime_ns == before


@pytest.mark.parametrize("change", ["module", "manifest", "lost"])
async def test_what_changed_is_pushed_anew(
    registry: str, written: Path, tmp_path: Path, change: str
) -> None:
    made = await put(registry, written, tmp_path)
    before = made.read_bytes()
    alter(change, written, made)

    again = (await put(registry, written, tmp_path)).read_bytes()

    assert (again == before) is (change == "lost")


def alter(change: str, written: Path, made: Path) -> None:
    match change:
        case "module":
            written.with_name("nothing.wasm").write_bytes(b"\0asm\x01\0\0\0" + b"\0\x02\x01x")
        case "manifest":
            written.write_text(MANIFEST.replace("1.0.0", "1.0.1"))
        case _:
            made.write_text("half")


def test_what_cannot_be_pushed_is_told(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_bytes(KEY.private_pem())
    written.with_name("nothing.wasm").unlink()

    command = ["--registry", "127.0.0.1:1", "--key", str(tmp_path / "key")]
    status = main([*command, "--out", str(tmp_path / "out"), str(written)])

    assert status == 1
    assert "nothing.wasm" in capsys.readouterr().err
