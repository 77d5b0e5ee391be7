import numpy as np
from archipelag_image_gen.noise import normal


def test_noise_is_the_same_numbers_for_ever() -> None:
    # Written down once. When this fails every picture of every seed has changed: do not just write it down anew.
    assert normal(1, (4,)).tolist() == [
        0.8587949872016907,
        0.5618759989738464,
        1.283265471458435,
        0.1112373024225235,
    ]
    assert normal((1 << 53) - 1, (3,)).tolist() == [
        -0.8305903077125549,
        0.7332960963249207,
        1.0574105978012085,
    ]


def test_noise_is_normal_and_differs_by_seed() -> None:
    many = normal(7, (100_000,))

    assert abs(float(many.mean())) < 0.02 and abs(float(many.std()) - 1) < 0.02
    assert np.isfinite(many).all()
    assert not np.allclose(normal(8, (100_000,)), many)


def test_an_odd_count_and_any_shape_can_be_had() -> None:
    assert normal(3, (1, 3, 5)).shape == (1, 3, 5)
