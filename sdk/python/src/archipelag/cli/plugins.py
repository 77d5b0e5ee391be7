"""Commands that other packages bring: `archipelag cargo` comes with the kit for authors of Cargos."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final

GROUP: Final = "archipelag.commands"


@dataclass(frozen=True)
class Known:
    """A command that may be missing here: what it is for, and the package that brings it."""

    about: str
    package: str


KNOWN: Final = {
    "cargo": Known("write, build, test, sign and publish Cargos", "archipelag-kit[commands]"),
}
# Options of `archipelag` itself that take a value, and may stand before the command.
_WITH_VALUE: Final = ("--url", "--key", "--profile", "--format")

Command = Callable[[Sequence[str]], int]


def split(argv: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """What stands before the command, the command or "", and what follows it."""
    position = 0
    while position < len(argv) and argv[position].startswith("-"):
        position += 2 if argv[position] in _WITH_VALUE else 1
    if position >= len(argv):
        return list(argv), "", []
    return list(argv[:position]), argv[position], list(argv[position + 1 :])


def options() -> argparse.ArgumentParser:
    """Our own, as far as other packages' commands have to do with them."""
    made = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--url", "--key", "--profile"):
        made.add_argument(name)
    return made


def find(name: str) -> Command | None:
    """The command of that name, loaded; None: no package here brings it. Raises ImportError where it is broken."""
    for point in entry_points(group=GROUP, name=name):
        command: Command = point.load()
        return command
    return None


def offered() -> list[str]:
    """Names of what is installed, and of what could be."""
    return sorted({*KNOWN, *(point.name for point in entry_points(group=GROUP))})
