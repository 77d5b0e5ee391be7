"""Sign-in links for the terminal: what the Coordinator has put into its local mailbox since the network started."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

_LINK: Final = re.compile(r"https?://\S+")


class Letters:
    """`look` now and then; each letter is told once, and none from before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._newest = max(self._names(), default="")

    def look(self) -> list[str]:
        """A line for each new letter with a link in it, oldest first."""
        told = []
        for name in [name for name in self._names() if name > self._newest]:
            self._newest = name
            try:
                letter = json.loads((self._folder / name).read_text(encoding="utf-8"))
                link = _LINK.search(letter["text"])
            except (OSError, ValueError, KeyError, TypeError):
                continue  # Swept meanwhile, or not a letter: its sender asks again.
            if link:
                told.append(f"  Sign in as {letter['to']}: {link.group()}")
        return told

    def _names(self) -> list[str]:
        return sorted(path.name for path in self._folder.glob("[0-9]*.json"))
