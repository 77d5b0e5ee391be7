"""Serves the ocr Cargo: `python -m archipelag_ocr --socket PATH --manifest FILE`."""

from archipelag_kit import cargo

import archipelag_ocr.answers  # noqa: F401 - marks the functions

cargo.main()
