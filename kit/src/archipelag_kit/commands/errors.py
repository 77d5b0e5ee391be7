"""Errors of the commands; each ends with an exit status of its own, and its text says what to do.

CommandError (1)
├── WrongUsage (2)        the folder, a file or an argument is not what it must be
├── NotReachable (3)      a registry or a network does not answer
├── NotAllowed (4)        the registry or the network refuses us
├── ChecksFailed (5)      the Cargo did not pass
└── ToolMissing (6)       something that this needs is not installed
"""

from __future__ import annotations

from typing import ClassVar


class CommandError(Exception):
    status: ClassVar[int] = 1


class WrongUsage(CommandError):
    status = 2


class NotReachable(CommandError):
    status = 3


class NotAllowed(CommandError):
    status = 4


class ChecksFailed(CommandError):
    status = 5


class ToolMissing(CommandError):
    status = 6
