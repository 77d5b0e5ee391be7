"""The Cargo with llama.cpp's server: `python -m archipelag_llm_server.llama_cpp --socket PATH --manifest FILE …`.

By the program `llama-server` where there is one, else by the same server as the wheel xllamacpp has it.
"""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec

from archipelag_llm_server.beginnings import SlotBeginnings
from archipelag_llm_server.engine import Engine, Start
from archipelag_llm_server.errors import ServerFailed
from archipelag_llm_server.serving import main


def command(start: Start) -> list[str]:
    if program := shutil.which("llama-server"):
        # What it would keep in the host's memory it would give to whoever asks alike.
        return [program, "--no-webui", "--cache-ram", "0", *options(start)]
    if find_spec("xllamacpp") is None:
        raise ServerFailed("llama.cpp is not here: neither llama-server nor the wheel xllamacpp")
    return [sys.executable, "-m", "archipelag_llm_server.wheel_server", *options(start)]


def options(start: Start) -> list[str]:
    values = {
        "--model": start.model,
        # A name that ends like this is a Unix socket's.
        "--host": start.socket,
        "--alias": start.name,
        "--parallel": start.slots,
        # One cache is shared by all slots.
        "--ctx-size": start.context_tokens * start.slots,
        "--threads": start.threads,
        # All that fit; a build without a GPU takes no notice.
        "--n-gpu-layers": 999,
    }
    return [str(word) for pair in values.items() for word in pair]


LLAMA_CPP = Engine("llama.cpp", command, SlotBeginnings)

if __name__ == "__main__":
    sys.exit(main(LLAMA_CPP))
