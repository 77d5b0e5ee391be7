"""What a schema cannot say is checked by the Cargo, in a sentence for the customer."""

from pathlib import Path
from typing import Any

import pytest
from archipelag_image_gen.answers import paint
from archipelag_image_gen.asked import is_previewed, read
from archipelag_kit import BadInput
from archipelag_kit.testing import perform

MANIFEST = Path(__file__).parents[2] / "manifest.toml"


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"prompt": ""},
        {"prompt": "  \n "},
        {"prompt": "a" * 1_001},
        {"prompt": 7},
        {"prompt": "a", "width": 33},
        {"prompt": "a", "width": 24},
        {"prompt": "a", "height": 4_096},
        {"prompt": "a", "steps": 0},
        {"prompt": "a", "steps": 101},
        {"prompt": "a", "steps": 2.5},
        {"prompt": "a", "guidance_scale": -1},
        {"prompt": "a", "guidance_scale": 20.5},
        {"prompt": "a", "seed": -1},
        {"prompt": "a", "seed": 1 << 53},
        {"prompt": "a", "model": "../../etc/passwd"},
    ],
)
async def test_bad_input_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        await perform(paint, said, manifest=MANIFEST, state=None)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
async def test_a_guidance_that_is_no_number_is_refused(number: bytes) -> None:
    said = b'{"prompt": "a", "guidance_scale": ' + number + b"}"

    with pytest.raises(BadInput):
        await perform(paint, said, manifest=MANIFEST, state=None)


def test_a_seed_is_chosen_where_none_is_given() -> None:
    seeds = {read({"prompt": "a"}).seed for _ in range(8)}

    assert len(seeds) == 8


def test_few_previews_are_made_of_many_steps() -> None:
    assert [step for step in range(1, 101) if is_previewed(step, 100)] == [20, 40, 60, 80]
    assert [step for step in range(1, 3) if is_previewed(step, 2)] == [1]
    assert not is_previewed(1, 1)
