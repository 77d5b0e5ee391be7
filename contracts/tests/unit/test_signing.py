"""Signatures hold for what was signed, by whom it was signed, as the kind it was signed, and for nothing else."""

from __future__ import annotations

import pytest
from archipelag_contracts import signing
from archipelag_contracts.errors import BadMessage, BadSignature, ContractError
from archipelag_contracts.pb.archipelag.v1.common_pb2 import Signed
from archipelag_contracts.pb.archipelag.v1.job_pb2 import Cancel, Report
from archipelag_contracts.signing import SigningKey, chain, open_sealed, verify
from hypothesis import given
from hypothesis import strategies as st

KEY = SigningKey.from_seed(bytes(range(32)))
OTHER = SigningKey.from_seed(bytes(32))
MESSAGE = Cancel(job_id="j", epoch=1, reason="asked")
SEALED = KEY.seal(MESSAGE)
TRUSTED = frozenset({KEY.public})
ITEMS = st.lists(st.tuples(st.text(max_size=5), st.integers(0, 2**32 - 1)), max_size=6)


def test_rfc_8032_test_vector_1() -> None:
    seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    key = SigningKey.from_seed(bytes.fromhex(seed))

    assert key.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"", b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )


def test_a_sealed_message_opens() -> None:
    assert open_sealed(SEALED, Cancel, TRUSTED) == MESSAGE


def test_the_seed_gives_the_key_back_and_is_not_printed() -> None:
    key = SigningKey.generate()

    assert SigningKey.from_seed(key.seed()).public == key.public
    assert key.seed().hex() not in repr(key)


def test_another_signer_is_not_trusted() -> None:
    with pytest.raises(BadSignature, match="not trusted"):
        open_sealed(OTHER.seal(MESSAGE), Cancel, TRUSTED)


def test_naming_a_trusted_key_does_not_help() -> None:
    envelope = Signed.FromString(OTHER.seal(MESSAGE))
    envelope.public_key = KEY.public

    with pytest.raises(BadSignature):
        open_sealed(envelope.SerializeToString(), Cancel, TRUSTED)


def test_one_kind_cannot_be_presented_as_another() -> None:
    with pytest.raises(BadSignature):
        open_sealed(SEALED, Report, TRUSTED)


def test_signed_garbage_is_a_bad_message() -> None:
    payload = b"\xff\xff\xff"
    signature = KEY.sign(signing._prefix(Cancel), payload)
    envelope = Signed(payload=payload, signature=signature, public_key=KEY.public)

    with pytest.raises(BadMessage):
        open_sealed(envelope.SerializeToString(), Cancel, TRUSTED)


@given(st.integers(0, len(SEALED) * 8 - 1))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    data = bytearray(SEALED)
    data[bit // 8] ^= 1 << bit % 8

    with pytest.raises(ContractError):
        open_sealed(bytes(data), Cancel, TRUSTED)


@given(st.integers(0, len(SEALED) - 1))
def test_any_cut_is_refused(length: int) -> None:
    with pytest.raises(ContractError):
        open_sealed(SEALED[:length], Cancel, TRUSTED)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with pytest.raises(ContractError):
        open_sealed(data, Cancel, TRUSTED)


@pytest.mark.parametrize("public", [b"", b"x", bytes(31), bytes(33)])
@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65)])
def test_keys_and_signatures_of_wrong_size(public: bytes, signature: bytes) -> None:
    with pytest.raises(BadSignature):
        verify(public, b"p", b"x", signature)


@given(ITEMS, ITEMS)
def test_equal_chains_mean_equal_items(left: list[tuple[str, int]], right: list) -> None:
    assert (chain(left) == chain(right)) == (left == right)


@given(ITEMS, ITEMS)
def test_a_chain_can_be_continued(left: list[tuple[str, int]], right: list) -> None:
    assert chain(right, chain(left)) == chain([*left, *right])
