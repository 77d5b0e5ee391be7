"""llama.cpp's server from the wheel xllamacpp, by the arguments of `llama-server` that this Cargo uses."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    import xllamacpp

    # Kept: with the last reference to it the server ends.
    server = xllamacpp.Server(parameters(xllamacpp, arguments()))
    sys.stderr.write(f"listening at {server.listening_address}\n")
    signal.pause()
    del server
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--alias", required=True)
    for name in ("--parallel", "--ctx-size", "--threads", "--n-gpu-layers"):
        parser.add_argument(name, type=int, required=True)
    return parser.parse_args()


def parameters(xllamacpp: Any, args: argparse.Namespace) -> Any:
    made = xllamacpp.CommonParams()
    made.model.path = str(args.model)
    made.model_alias = [args.alias]
    made.hostnames = [args.host]
    made.n_parallel = args.parallel
    made.n_ctx = args.ctx_size
    made.n_gpu_layers = args.n_gpu_layers
    for processors in (made.cpuparams, made.cpuparams_batch):
        processors.n_threads = args.threads
    # It asks the host for more than a sandbox shows, to fit what the Cargo's author has fitted.
    made.fit_params = False
    made.offline = True
    made.ui = False
    made.endpoint_slots = False
    # What it would keep beside the slots it would give to whoever asks alike.
    made.cache_ram_mib = 0
    made.cache_idle_slots = False
    return made


if __name__ == "__main__":
    sys.exit(main())
