"""Serves the speech-to-text Cargo: `python -m archipelag_speech_to_text --socket PATH --manifest FILE`."""

from archipelag_kit import cargo

import archipelag_speech_to_text.answers  # noqa: F401 - marks the functions

cargo.main()
