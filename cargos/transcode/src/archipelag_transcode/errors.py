"""Errors of the transcode Cargo.

TranscodeError
├── NoFfmpeg       there is no FFmpeg in this environment; the text says what to install
└── BadMedia       FFmpeg cannot use the file, or what would come of it is too large; the text is for the customer
"""

from __future__ import annotations


class TranscodeError(Exception):
    """Something expected went wrong."""


class NoFfmpeg(TranscodeError):
    pass


class BadMedia(TranscodeError):
    pass
