from archipelag_image_gen.words import Vocabulary

WORDS = Vocabulary({"a": 1, "red": 2, "star": 3}, start=8, end=9, tokens_max=8)


def test_known_words_become_tokens_whatever_their_case_and_marks() -> None:
    ids, unknown = WORDS.read("A RED, star!")

    assert ids == [8, 1, 2, 3, 9, 9, 9, 9]
    assert unknown == ()


def test_unknown_words_are_left_out_and_said_once() -> None:
    ids, unknown = WORDS.read("a red dragon, a DRAGON and 1 star_fish")

    assert ids == [8, 1, 2, 1, 3, 9, 9, 9]
    assert unknown == ("dragon", "and", "1", "fish")


def test_what_is_beyond_the_model_is_said_too() -> None:
    ids, unknown = WORDS.read("red " * 6 + "star")

    assert len(ids) == 8 and ids[-1] == 9
    assert unknown == ("star",)


def test_hostile_prompts_are_bounded() -> None:
    _, unknown = WORDS.read(" ".join(f"{'x' * 90}{i}" for i in range(500)))

    assert len(unknown) <= 16 and all(len(word) <= 40 for word in unknown)
