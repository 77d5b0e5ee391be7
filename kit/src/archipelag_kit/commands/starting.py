"""`archipelag cargo init`: copies a template into a new folder."""

from __future__ import annotations

import argparse
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from archipelag_kit.commands import saying
from archipelag_kit.commands.errors import WrongUsage

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_TEXTS: Final = (".toml", ".md")


def init(arguments: argparse.Namespace) -> None:
    name: str = arguments.name
    if not _NAME.fullmatch(name):
        raise WrongUsage(f"{name!r}: lower-case letters, digits and dashes, 63 at most")
    target = arguments.into / name
    if target.exists():
        raise WrongUsage(f"{target} is there already: choose another name")
    template = files("archipelag_kit").joinpath("templates", arguments.template)
    written = _copy(template, target, name)
    for path in sorted(written):
        saying.note(f"  {path}")
    saying.line(f"{target} is a Cargo that works. Next:")
    saying.line(f"  cd {target}")
    saying.line("  archipelag cargo build")
    saying.line("  archipelag cargo test")


def _copy(source: Traversable, target: Path, name: str) -> list[Path]:
    target.mkdir(parents=True)
    written: list[Path] = []
    for entry in source.iterdir():
        if entry.name == "__pycache__":
            continue
        # A package's files cannot begin with a dot everywhere.
        path = target / (".gitignore" if entry.name == "gitignore" else entry.name)
        if entry.is_dir():
            written += _copy(entry, path, name)
            continue
        data = entry.read_bytes()
        if path.suffix in _TEXTS:
            data = data.replace(b"@SLUG@", name.encode())
        path.write_bytes(data)
        written.append(path)
    return written
