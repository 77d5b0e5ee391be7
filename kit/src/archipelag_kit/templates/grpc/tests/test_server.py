"""Tries what can be tried without a socket; `archipelag cargo test` tries the rest in the sandbox."""

from __future__ import annotations

import pytest
from server import read


def test_the_text_is_found() -> None:
    assert read(b'{"text": "land ho"}') == "land ho"


@pytest.mark.parametrize("wrong", [b"", b"[]", b"{}", b'{"text": ""}', b'{"text": "a", "b": 1}'])
def test_wrong_input_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match=r"text|JSON"):
        read(wrong)
