"""What others wrote and our pages serve is what the locked packages give, with their licences beside it."""

from __future__ import annotations

import json
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from archipelag_coordinator.apps.web.assets import FOLDER

ROOT = Path(__file__).resolve().parents[5]
SOURCES = ROOT / "coordinator" / "pages"
VENDOR = FOLDER / "vendor"
NODE = ROOT / ".venv" / "bin" / "node"


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_the_bundle_was_built_from_what_is_locked() -> None:
    noted = json.loads((SOURCES / "parts.json").read_text())

    assert noted["from"] == {
        name: digest(SOURCES / name) for name in ("package-lock.json", "parts.mjs", "build.mjs")
    }
    assert noted["made"] == {path.name: digest(path) for path in VENDOR.iterdir()}


def test_the_lock_names_no_host_and_a_hash_for_each_package() -> None:
    lock = json.loads((SOURCES / "package-lock.json").read_text())
    packages = {name: one for name, one in lock["packages"].items() if name}

    assert {"node_modules/marked", "node_modules/dompurify", "node_modules/highlight.js"} <= set(
        packages
    )
    for name, one in packages.items():
        assert "resolved" not in one, name
        assert one["integrity"].startswith("sha512-"), name


def test_every_part_has_its_licence() -> None:
    told = (VENDOR / "parts.LICENSES.txt").read_text()

    for words in ("marked 18", "dompurify 3", "highlight.js 11", "Redistribution and use", "MIT"):
        assert words in told, words


@pytest.mark.skipif(
    not NODE.exists() or not (SOURCES / "node_modules").exists(),
    reason="the packages are installed by `make test`",
)
def test_building_again_gives_the_same_bytes(tmp_path: Path) -> None:
    subprocess.run([NODE, SOURCES / "build.mjs", tmp_path], check=True, timeout=120)

    assert {path.name: digest(path) for path in tmp_path.iterdir()} == {
        path.name: digest(path) for path in VENDOR.iterdir()
    }
