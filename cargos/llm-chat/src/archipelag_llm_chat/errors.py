"""Errors of the llm-chat Cargo.

ChatCargoError
├── EngineUnusable      this llama.cpp build or model cannot be used here; the text says why and what to do
├── BadRequest          the input is not acceptable; the text is for the customer
├── NoSlot              as many runs as there are slots
├── NotReady            the model is still loading, or failed to load
├── DecodeFailed        llama.cpp reported an error in the middle of a run
└── ModelUnavailable    the weights could not be had: `reason`
"""

from __future__ import annotations


class ChatCargoError(Exception):
    """Something expected went wrong; the text says what to do."""


class EngineUnusable(ChatCargoError):
    pass


class BadRequest(ChatCargoError):
    pass


class NoSlot(ChatCargoError):
    pass


class NotReady(ChatCargoError):
    pass


class DecodeFailed(ChatCargoError):
    pass


class ModelUnavailable(ChatCargoError):
    pass
