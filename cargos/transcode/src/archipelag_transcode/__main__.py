"""Serves the transcode Cargo: `python -m archipelag_transcode --socket PATH --manifest FILE`."""

from archipelag_kit import cargo

import archipelag_transcode.answers  # noqa: F401 - marks the functions

cargo.main()
