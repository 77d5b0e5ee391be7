"""The golden vectors hold: what is computed today is what was agreed, and what is stored can be read back."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from archipelag_contracts import signing
from archipelag_contracts.manifest import parse_canonical, parse_toml

CONTRACTS = Path(__file__).parents[2]
sys.path.insert(0, str(CONTRACTS))
vectors = importlib.import_module("vectors")


def stored(name: str) -> dict:
    return json.loads((CONTRACTS / "vectors" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["messages", "signatures", "manifests", "chains"])
def test_what_is_computed_is_what_was_agreed(name: str) -> None:
    assert vectors.made()[name] == stored(name)


@pytest.mark.parametrize("name", sorted(vectors.messages()))
def test_stored_bytes_read_back_as_the_message(name: str) -> None:
    message = vectors.messages()[name]

    assert type(message).FromString(bytes.fromhex(stored("messages")[name]["hex"])) == message


@pytest.mark.parametrize("name", sorted(vectors.messages()))
def test_stored_seals_open(name: str) -> None:
    message = vectors.messages()[name]
    told = stored("signatures")
    trusted = {bytes.fromhex(told["public_key"])}

    sealed = bytes.fromhex(told["signed"][name]["sealed"])

    assert signing.open_sealed(sealed, type(message), trusted) == message


def test_stored_manifest_is_canonical() -> None:
    told = stored("manifests")["echo"]

    manifest = parse_canonical(told["canonical"].encode())

    assert manifest == parse_toml(told["toml"]) and manifest.digest == told["digest"]


def test_generated_code_is_current() -> None:
    # The plug-ins of protoc stand beside the interpreter.
    path = str(Path(sys.executable).parent)
    command = [sys.executable, str(CONTRACTS / "generate.py"), "--check"]

    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": path}, check=False)

    assert done.returncode == 0, done.stderr
