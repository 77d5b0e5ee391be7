"""`python -m archipelag_oci.server --folder F --port P`: a registry on this machine until it is told to stop."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

import uvicorn

from archipelag_oci.server.app import Pusher, make_app
from archipelag_oci.server.store import Store

BLOB_BYTES_MAX: Final = 64 << 30
PUSHER: Final = "ARCHIPELAG_REGISTRY_PUSHER"


def main(arguments: list[str]) -> int:
    """The environment's `ARCHIPELAG_REGISTRY_PUSHER=name:password` says who may push; without it, everybody may."""
    parser = argparse.ArgumentParser(prog="archipelag_oci.server", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where all of it is kept")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--port", type=int, required=True, help="port to listen on; 0: any free one"
    )
    parser.add_argument("--blob-bytes-max", type=int, default=BLOB_BYTES_MAX)
    options = parser.parse_args(arguments)
    pusher = None
    if text := os.environ.get(PUSHER, ""):
        username, colon, password = text.partition(":")
        if not colon or not username or not password:
            print(f"error: {PUSHER} must be name:password", file=sys.stderr)
            return 2
        pusher = Pusher(username, password)
    app = make_app(Store(options.folder, options.blob_bytes_max), pusher)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
