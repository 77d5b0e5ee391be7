"""Releases of the Island's software: what is signed, who may take it when, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from archipelag_contracts import releases
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.errors import BadMessage, BadSignature
from archipelag_contracts.releases import File, Release

KEY = CosignKey.generate()
RELEASE = Release(
    number=7,
    version="0.2.0",
    issued_at=1_000_000,
    expires_at=2_000_000,
    waves=releases.WAVES,
    files={"linux-x86_64": File("ab" * 32, 1234)},
)


def test_what_is_signed_is_read_back() -> None:
    made = releases.document(RELEASE)

    assert releases.opened(made, releases.sign(KEY, made), KEY.public) == RELEASE


@pytest.mark.parametrize("at", [0, 40, 90, -2])
def test_one_changed_byte_is_refused(at: int) -> None:
    made = bytearray(releases.document(RELEASE))
    signature = releases.sign(KEY, bytes(made))
    made[at] ^= 1

    with pytest.raises(BadSignature):
        releases.opened(bytes(made), signature, KEY.public)


@pytest.mark.parametrize("signature", [b"", b"!!!!", b"QUJD", b"A" * 600])
def test_what_is_no_signature_is_refused(signature: bytes) -> None:
    with pytest.raises((BadSignature, BadMessage)):
        releases.opened(releases.document(RELEASE), signature, KEY.public)


def test_another_key_is_refused() -> None:
    made = releases.document(RELEASE)

    with pytest.raises(BadSignature):
        releases.opened(made, releases.sign(CosignKey.generate(), made), KEY.public)


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": 2},
        {"number": 0},
        {"number": "7"},
        {"number": True},
        {"version": "../../x"},
        {"version": 2},
        {"expires_at": 1_000_000},
        {"files": {}},
        {"files": {"linux-x86_64": "sha256:ab 12"}},
        {"files": {"linux-x86_64": f"sha256:{'ab' * 32} 0"}},
        {"files": {"linux-x86_64": f"sha256:{'ab' * 32} 9999999999"}},
        {"files": {"../x": f"sha256:{'ab' * 32} 12"}},
        {"waves": {"101": 0}},
        {"waves": {"x": 0}},
        {"waves": [1, 2]},
    ],
    ids=str,
)
def test_nonsense_is_refused_though_it_is_signed(wrong: dict[str, object]) -> None:
    made = json.dumps({**json.loads(releases.document(RELEASE)), **wrong}).encode()

    with pytest.raises(BadMessage):
        releases.opened(made, releases.sign(KEY, made), KEY.public)


@pytest.mark.parametrize("made", [b"", b"[]", b"[" * 5000, b"{}", b"\xff"])
def test_what_is_no_document_is_refused(made: bytes) -> None:
    with pytest.raises(BadMessage):
        releases.parse(made)


def test_waves_reach_as_many_as_they_say_and_never_take_back() -> None:
    islands = [f"isl_{number}" for number in range(4000)]
    day = 86_400
    before: set[str] = set()

    for after, least, most in ((0, 0.3, 2), (day, 8, 12), (3 * day, 47, 53), (7 * day, 100, 100)):
        now = RELEASE.issued_at + after
        reached = {island for island in islands if RELEASE.reaches(island, now)}
        assert before <= reached
        assert least <= 100 * len(reached) / len(islands) <= most
        before = reached
    assert not [i for i in islands if RELEASE.reaches(i, RELEASE.issued_at - 1)]
    first = [i for i in islands if RELEASE.reaches(i, RELEASE.issued_at)]
    next_one = replace(RELEASE, number=8)
    assert first != [i for i in islands if next_one.reaches(i, RELEASE.issued_at)]


def test_openssl_verifies_what_we_sign(tmp_path: Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs openssl")
    made = releases.document(RELEASE)
    (tmp_path / "made").write_bytes(made)
    (tmp_path / "key").write_bytes(KEY.public_pem)
    (tmp_path / "encoded").write_bytes(releases.sign(KEY, made))
    decode = [program, "base64", "-d", "-A", "-in", tmp_path / "encoded", "-out", tmp_path / "sig"]
    subprocess.run(decode, check=True)

    done = subprocess.run(
        [program, "dgst", "-sha256", "-verify", tmp_path / "key", "-signature", tmp_path / "sig", tmp_path / "made"],
        capture_output=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0
