"""Pieces as the model's own tokenizer cuts them; the expected ids were made by it."""

import pytest
from archipelag_embeddings.wordpiece import bundled


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", [101, 102]),
        ("Hello, World!", [101, 7592, 1010, 2088, 999, 102]),
        ("Unbelievable tokenization", [101, 23653, 19204, 3989, 102]),
        ("naïve café", [101, 15743, 7668, 102]),
        ("東京 tower", [101, 1879, 1755, 3578, 102]),
        ("don't e-mail #tags", [101, 2123, 1005, 1056, 1041, 1011, 5653, 1001, 22073, 102]),
        ("a\u200bb\tc\n\xa0d", [101, 11113, 1039, 1040, 102]),
        ("Ünïcödé 😀 İstanbul", [101, 27260, 100, 9960, 102]),
        ("x" * 101, [101, 100, 102]),
    ],
)
def test_text_is_cut_as_by_the_models_own_tokenizer(text: str, ids: list[int]) -> None:
    assert bundled().ids(text, 256) == ids


def test_what_is_beyond_the_limit_is_left_out_and_the_end_stays() -> None:
    ids = bundled().ids("word " * 1_000, 256)

    assert len(ids) == 256
    assert ids[0] == 101 and ids[-1] == 102


def test_hostile_text_takes_no_long_time_and_no_wrong_id() -> None:
    hostile = "a" * 30_000 + "\u0300" * 2_000 + "\ud7ff\U0010ffff\x00"

    assert bundled().ids(hostile, 256) == [101, 100, 102]
