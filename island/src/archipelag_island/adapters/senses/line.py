"""Whether this machine's line is metered, as NetworkManager says; unknown without it."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from contextlib import suppress
from typing import Final

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0
ASK_S: Final = 3.0
ANSWER_BYTES_MAX: Final = 4096

_NAME: Final = "org.freedesktop.NetworkManager"
_PATH: Final = "/org/freedesktop/NetworkManager"
ASK: Final = (
    ("busctl", "--system", "get-property", _NAME, _PATH, _NAME, "Metered"),
    (
        *("dbus-send", "--system", "--print-reply", f"--dest={_NAME}", _PATH),
        *("org.freedesktop.DBus.Properties.Get", f"string:{_NAME}", "string:Metered"),
    ),
)
# NMMetered: unknown, yes, no, guessed yes, guessed no.
MEANING: Final = {1: True, 2: False, 3: True, 4: False}
_ANSWER: Final = re.compile(rb"\b(?:u|uint32) (\d+)\s*$")


class MeteredLine:
    """`watch` asks again and again, in a task of its own: an answer may take its time."""

    def __init__(self) -> None:
        self.metered: bool | None = None

    async def watch(self) -> None:
        while True:
            self.metered = await ask()
            await asyncio.sleep(LOOK_S)


async def ask(path: str | None = None) -> bool | None:
    """By the first program of ASK that is on `path` (None: this process's own)."""
    for program, *arguments in ASK:
        found = shutil.which(program, path=path)
        if found is not None:
            return await _ask([found, *arguments])
    return None


async def _ask(command: list[str]) -> bool | None:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        log.debug("metered_not_asked error=%s", error)
        return None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(ASK_S):
            said = await _read(process.stdout)
            await process.wait()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    answer = _ANSWER.search(said) if process.returncode == 0 else None
    return MEANING.get(int(answer[1])) if answer else None


async def _read(stream: asyncio.StreamReader) -> bytes:
    """To its end, or as much as an answer may have: one read gives what happens to be there."""
    said = b""
    while len(said) < ANSWER_BYTES_MAX:
        more = await stream.read(ANSWER_BYTES_MAX)
        if not more:
            break
        said += more
    return said
