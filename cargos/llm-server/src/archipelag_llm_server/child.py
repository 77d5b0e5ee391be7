"""Becomes the server, tied to its parent: `python -m archipelag_llm_server.child PARENT COMMAND …`.

A Cargo may be killed at any time; a server that outlived it would keep a GPU's memory.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
# There is no network inside: nothing is to be looked for there for minutes.
_SAID: Final = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}


def main(parent: int, command: list[str]) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for name, value in _SAID.items():
        os.putenv(name, value)
    if os.getppid() == parent:  # Else it has gone already, and no signal will come.
        os.execv(command[0], command)  # noqa: S606 - without a shell is what we want


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
