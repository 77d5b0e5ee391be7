"""Errors of the llm-server Cargo. The text says what the server did."""

from __future__ import annotations


class ServerFailed(Exception):
    """The model's server cannot be started, died, said nothing, or said what makes no sense."""
