"""The Cargo with vLLM's server: `python -m archipelag_llm_server.vllm --socket PATH --manifest FILE --model FILE`."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from archipelag_llm_server.beginnings import SaltedBeginnings
from archipelag_llm_server.engine import Engine, Start
from archipelag_llm_server.errors import ServerFailed
from archipelag_llm_server.serving import main


def command(start: Start) -> list[str]:
    if find_spec("vllm") is None:
        raise ServerFailed("vLLM is not installed here: its package must be in the image")
    options = {
        "--uds": start.socket,
        "--served-model-name": start.name,
        "--max-model-len": start.context_tokens,
        "--max-num-seqs": start.slots,
    }
    # Its program lies in a folder that an image does not have; the module behind it is the same.
    return [
        *(sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(start.model)),
        *(str(word) for pair in options.items() for word in pair),
        # How much of a prompt it did not read again is said only then.
        "--enable-prompt-tokens-details",
    ]


VLLM = Engine("vLLM", command, lambda _slots: SaltedBeginnings(), SaltedBeginnings)

if __name__ == "__main__":
    sys.exit(main(VLLM))
