"""Serves the text-to-speech Cargo: `python -m archipelag_text_to_speech --socket PATH --manifest FILE`."""

from archipelag_kit import cargo

import archipelag_text_to_speech.answers  # noqa: F401 - marks the functions

cargo.main()
