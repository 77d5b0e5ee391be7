"""Tries the function without a sandbox: `python -m pytest`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from answer import answer
from archipelag_kit import BadInput
from archipelag_kit.testing import perform

MANIFEST = Path(__file__).parents[1] / "manifest.toml"


def test_it_is_louder() -> None:
    said = asyncio.run(perform(answer, {"text": "land ho"}, manifest=MANIFEST))

    assert said.value == {"loud": "LAND HO", "words": 2}
    assert said.prompt_tokens == 2


@pytest.mark.parametrize("wrong", [{}, {"text": ""}, {"text": 7}, {"text": "  "}, {"other": "x"}])
def test_wrong_input_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=r"text|other"):
        asyncio.run(perform(answer, wrong, manifest=MANIFEST))
