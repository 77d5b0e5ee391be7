"""Tutorials as a newcomer types them: every command of a page, literally, against a running network."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .conftest import Network

BLOCK = re.compile(r"^```(\w+)(?: (\w+)=(\S+))?\n(.*?)^```$", re.S | re.M)
WHOLE_S = 300.0


def blocks(page: str) -> Iterator[str]:
    """The page as shell commands: what it says to type, and what it says to write."""
    for language, what, name, text in BLOCK.findall(page):
        if language == "sh":
            yield text
        elif what:
            sign = ">>" if what == "append" else ">"
            yield f"cat {sign} {name} <<'THE-END-OF-IT'\n{text}THE-END-OF-IT\n"


def environment(network: Network, folder: Path, api_key: str) -> dict[str, str]:
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ARCHIPELAG_API_URL": network.api_url,
        "ARCHIPELAG_API_KEY": api_key,
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


@contextmanager
def typed(script: Path, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """What it printed; whatever it left running is ended afterwards."""
    with (folder / "told").open("w+") as told:
        process = subprocess.Popen(
            ["bash", "-eux", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
        )
        try:
            status = process.wait(WHOLE_S)
            text = (folder / "told").read_text()
            assert status == 0, text[-6000:]
            yield text
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
