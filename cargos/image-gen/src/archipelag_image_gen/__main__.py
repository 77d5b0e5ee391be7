"""Serves the image-gen Cargo: `python -m archipelag_image_gen --socket PATH --manifest FILE [--model FILE]`."""

from archipelag_kit import cargo

import archipelag_image_gen.answers  # noqa: F401 - marks the functions

cargo.main()
