"""The local mailbox: the newest messages as files in a private folder, for a network on one's own machine."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from archipelag_coordinator.services.ports_of_people import Letter

log = logging.getLogger(__name__)

KEPT_MAX: Final = 50
_LINK: Final = re.compile(r"https?://\S+")


class LocalMailbox:
    """Implements `Mail` and `Mailbox`. Whoever may read the folder can sign in as anybody: mode 0700."""

    def __init__(self, folder: Path, now: Callable[[], datetime]) -> None:
        self._folder = folder
        self._now = now
        self._turn = asyncio.Lock()

    async def send(self, to: str, subject: str, text: str, html: str) -> None:
        async with self._turn:
            letter = Letter(self._now(), to, subject, text, html)
            await asyncio.to_thread(self._keep, letter)
        link = _LINK.search(text)
        # An owner without a browser at hand finds it here; this is their own machine's log.
        log.info("mail_kept to=%s link=%s", to, link.group() if link else "")

    async def newest(self, limit: int) -> list[Letter]:
        async with self._turn:
            return await asyncio.to_thread(self._read, limit)

    def _keep(self, letter: Letter) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        names = self._names()
        number = int(names[0].stem) + 1 if names else 1
        path = self._folder / f"{number:012d}.json"
        told = {
            "at": letter.at.isoformat(),
            "to": letter.to,
            "subject": letter.subject,
            "text": letter.text,
            "html": letter.html,
        }
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(told, file)
        part.replace(path)
        for old in names[KEPT_MAX - 1 :]:
            old.unlink(missing_ok=True)

    def _read(self, limit: int) -> list[Letter]:
        found = []
        for path in self._names()[:limit]:
            told = json.loads(path.read_text(encoding="utf-8"))
            at = datetime.fromisoformat(told["at"])
            found.append(Letter(at, told["to"], told["subject"], told["text"], told["html"]))
        return found

    def _names(self) -> list[Path]:
        """Newest first."""
        return sorted(self._folder.glob("[0-9]*.json"), reverse=True)
