"""Errors of the embedded network.

EmbeddedError            what a person reads: each says what to do
├── CannotStart          a program did not start; carries the tail of its log
├── StepFailed           a preparing command ended with an error
├── NotRunning           no network runs for this state directory
└── AlreadyRunning       another supervisor holds this state directory
"""

from __future__ import annotations


class EmbeddedError(Exception):
    """Something a person at the terminal must know."""

    code = "embedded_error"


class CannotStart(EmbeddedError):
    code = "cannot_start"


class StepFailed(EmbeddedError):
    code = "step_failed"


class NotRunning(EmbeddedError):
    code = "not_running"


class AlreadyRunning(EmbeddedError):
    code = "already_running"
