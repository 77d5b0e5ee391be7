import io

from archipelag_image_gen.asked import read
from archipelag_image_gen.canvas import fit, png, signed_png
from PIL import Image


def test_a_wide_picture_keeps_the_shape_and_draws_out_the_ground() -> None:
    painted = Image.new("RGB", (32, 32), "white")
    painted.paste("red", (8, 8, 24, 24))

    wide = fit(painted, 96, 32)

    assert wide.size == (96, 32)
    assert wide.getpixel((48, 16)) == (255, 0, 0)
    assert wide.getpixel((2, 16)) == wide.getpixel((93, 16)) == (255, 255, 255)


def test_what_is_of_the_right_size_is_left_alone() -> None:
    painted = Image.new("RGB", (64, 32), "blue")

    assert fit(painted, 64, 32) is painted


def test_a_picture_says_what_it_was_made_of() -> None:
    asked = read({"prompt": "a naïve ☆", "seed": 7})
    native = Image.new("RGB", (32, 32))

    made = Image.open(io.BytesIO(signed_png(fit(native, 256, 256), native, asked, "shapes-32")))

    assert made.info["archipelag:native"] == "32x32"
    assert made.info["archipelag:seed"] == "7"
    assert made.info["Description"] == "a naïve ☆"


def test_the_largest_preview_fits_its_bound() -> None:
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)

    assert len(png(Image.fromarray(noise))) <= 64 * 1024
