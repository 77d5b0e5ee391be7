"""The commands `archipelag cargo …`: start, build, test, sign, publish and review Cargos."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from archipelag_kit.commands.errors import CommandError
from archipelag_kit.commands.parser import parser

INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit status; `parser.EPILOG` lists them."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader (`head`, a pager) has had enough. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except CommandError as error:
        return _say(str(error), error.status)


def _say(message: str, status: int) -> int:
    sys.stderr.write(f"archipelag cargo: {message}\n")
    return status
