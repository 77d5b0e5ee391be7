"""The digests are those of Python's own implementations, for every length that a block's end could trip over."""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib
from collections.abc import Callable
from typing import Any

import pytest

ALL = ["sha256", "sha512", "sha1", "md5", "blake2b", "crc32"]
Run = Callable[..., Any]


def expected(name: str, data: bytes) -> str:
    if name == "crc32":
        return f"{zlib.crc32(data):08x}"
    return hashlib.new(name, data).hexdigest()


@pytest.mark.parametrize(
    "length", [0, 1, 3, 55, 56, 63, 64, 65, 111, 112, 119, 127, 128, 129, 255, 256, 257, 5000]
)
def test_digests_are_what_hashlib_says(run: Run, length: int) -> None:
    data = bytes((7 * i + length) % 256 for i in range(length))

    said = run("hash", {"base64": base64.b64encode(data).decode(), "algorithms": ALL}).json

    assert said == {"bytes": length, "digests": {name: expected(name, data) for name in ALL}}


@pytest.mark.parametrize("key", ["", "k", "x" * 64, "x" * 65, "é" * 100, "y" * 4000])
def test_hmac_is_what_hmac_says(run: Run, key: str) -> None:
    said = run("hash", {"text": "hello", "hmac_key": key, "algorithms": ALL[:-1]}).json

    assert said["hmac"] == {
        name: hmac.new(key.encode(), b"hello", name).hexdigest() for name in ALL[:-1]
    }


def test_text_is_hashed_as_utf_8(run: Run) -> None:
    text = 'ünï "quoted" \\ \n\u0000\u2028🌊'

    said = run("hash", {"text": text}).json

    assert said["digests"] == {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def test_eight_mebibytes_are_hashed(run: Run) -> None:
    text = "é" * (4 << 20)

    said = run("hash", {"text": text, "algorithms": ["sha512"]}).json

    assert said["digests"]["sha512"] == hashlib.sha512(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "either text or base64"),
        ({"text": "a", "base64": "YQ=="}, "either text or base64"),
        ({"text": 3}, "text must be text"),
        ({"text": "a" * (8 << 20) + "b"}, "text is too long"),
        ({"base64": "YQ"}, "base64 must be base64"),
        ({"base64": "Y(=="}, "base64 must be base64"),
        ({"base64": "===="}, "base64 must be base64"),
        ({"text": "a", "algorithms": []}, "at least one"),
        ({"text": "a", "algorithms": ["sha3"]}, "names among"),
        ({"text": "a", "algorithms": [1]}, "names among"),
        ({"text": "a", "algorithms": "sha1"}, "must be a list"),
        ({"text": "a", "algorithms": ["crc32"], "hmac_key": "k"}, "takes no hmac_key"),
        ({"text": "a", "hmac_key": "k" * 5000}, "hmac_key is too long"),
        ({"text": "a", "salt": "b"}, "salt is not known"),
    ],
)
def test_mistakes_are_told(run: Run, given: Any, why: str) -> None:
    assert why in run("hash", given).bad_input
