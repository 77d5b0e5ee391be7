"""Tries the built module by itself: `archipelag cargo build`, then `python -m pytest`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from archipelag_kit.testing.wasm import run_module

MODULE = Path(__file__).parents[1] / "build" / "module.wasm"


def test_it_is_louder() -> None:
    events = run_module(MODULE, {"text": 'land "ho"\n'})

    assert {"prompt_tokens": 2} in events
    said = next(event["text"] for event in events if "text" in event)
    assert json.loads(said) == {"loud": 'LAND "HO"\n'}
    assert events[-1] == {"end": {"finish_reason": "stop"}}


@pytest.mark.parametrize("wrong", [{}, {"text": ""}, {"text": 7}])
def test_wrong_input_is_refused(wrong: dict[str, object]) -> None:
    assert "text" in run_module(MODULE, wrong)[-1]["bad_input"]
