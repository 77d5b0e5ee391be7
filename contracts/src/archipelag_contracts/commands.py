"""How programs of operators and hosts take commands; the command line of developers has the same of its own."""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Says what was meant instead of all that could be; without a command, says what there is."""

    def error(self, message: str) -> NoReturn:
        if self._subparsers is not None and message.startswith("the following arguments are"):
            self.print_help(sys.stderr)
            self.exit(2)
        super().error(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        offered = [str(one) for one in action.choices]
        near = difflib.get_close_matches(str(value), offered, n=1)
        meant = f"did you mean {near[0]}?" if near else f"one of {', '.join(offered)}"
        raise argparse.ArgumentError(action, f"there is no {value!r}: {meant}")


def of_file(error: OSError) -> str:
    """Which file, and what is wrong with it, without an error's number."""
    reason = (error.strerror or str(error)).lower()
    reason = "there is no such file" if isinstance(error, FileNotFoundError) else reason
    return f"{error.filename}: {reason}" if error.filename else str(error)
