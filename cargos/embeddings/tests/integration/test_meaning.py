"""The real weights: near in meaning is near in space, and the numbers are those of the model's own implementation."""

import json
from pathlib import Path

import numpy as np
import pytest
from archipelag_contracts.manifest import Manifest
from archipelag_embeddings.answers import embed
from archipelag_embeddings.sentence_model import SentenceModel
from archipelag_kit import BadInput
from archipelag_kit.testing import perform

MANIFEST = Path(__file__).parents[2] / "manifest.toml"
# Made once by BertModel of `transformers` on torch, from the same file, by `reference.py` beside this test.
REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text())


async def test_vectors_are_those_of_the_reference_implementation(model: SentenceModel) -> None:
    texts = list(REFERENCE)

    answer = await perform(embed, {"texts": texts}, manifest=MANIFEST, state=model)

    found = np.array(answer.value["embeddings"])[:, :16]
    wrong = np.abs(found - np.array([REFERENCE[text] for text in texts])).max()
    assert wrong < 2e-6, f"off by {wrong}"


async def test_near_in_meaning_is_near_in_space(model: SentenceModel) -> None:
    texts = ["A cat sat on the mat.", "A kitten rested on the rug.", "Shares fell on Monday."]

    answer = await perform(embed, {"texts": texts}, manifest=MANIFEST, state=model)

    cat, kitten, shares = np.array(answer.value["embeddings"])
    assert cat @ kitten > 0.55
    assert cat @ shares < 0.2
    assert np.allclose(np.linalg.norm([cat, kitten, shares], axis=1), 1, atol=1e-5)


async def test_a_text_has_the_same_vector_alone_and_in_company(model: SentenceModel) -> None:
    texts = ["word " * n for n in (1, 3, 200, 7, 60)] + ["A cat sat on the mat."]

    alone = await perform(embed, {"texts": texts[-1:]}, manifest=MANIFEST, state=model)
    together = await perform(embed, {"texts": texts}, manifest=MANIFEST, state=model)

    assert np.allclose(alone.value["embeddings"][0], together.value["embeddings"][-1], atol=2e-6)


async def test_tokens_are_metered_and_what_is_cut_is_said(model: SentenceModel) -> None:
    texts = ["Hello, World!", "word " * 1_000]

    answer = await perform(embed, {"texts": texts}, manifest=MANIFEST, state=model)

    assert answer.value["tokens"] == answer.prompt_tokens == 6 + 256
    assert answer.value["texts_cut"] == 1


async def test_the_largest_batch_fits_into_the_answers_bounds(
    model: SentenceModel, manifest: Manifest
) -> None:
    answer = await perform(embed, {"texts": ["a"] * 256}, manifest=manifest, state=model)

    assert len(answer.value["embeddings"]) == 256
    assert answer.progress[-1].step == 256


@pytest.mark.parametrize("texts", [[], [""], ["a"] * 257, "a", [1], ["a" * 32_769]])
async def test_bad_input_is_refused_by_the_schema(texts: object) -> None:
    with pytest.raises(BadInput, match="texts"):
        await perform(embed, {"texts": texts}, manifest=MANIFEST, state=None)
