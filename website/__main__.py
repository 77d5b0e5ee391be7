"""Builds the website from `docs/` and the code, checks it, and shows it.

python website build [FOLDER]    writes FOLDER (build/site), and fails where a link leads nowhere or to another host
python website check [FOLDER]    looks at what was built
python website serve [FOLDER]    shows it on http://127.0.0.1:8080
"""

from __future__ import annotations

import functools
import http.server
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

import checked
from building import ROOT, build

PORT: Final = 8080


def main(words: list[str]) -> int:
    command = words[0] if words else "build"
    folder = Path(words[1]).absolute() if len(words) > 1 else ROOT / "build" / "site"
    match command:
        case "build":
            build(folder)
            return complain(checked.complaints(folder))
        case "check":
            return complain(checked.complaints(folder))
        case "serve":
            serve(folder)
            return 0
    print(__doc__, file=sys.stderr)
    return 2


def complain(found: list[str]) -> int:
    for one in found:
        print(one, file=sys.stderr)
    return int(bool(found))


def serve(folder: Path) -> None:
    asking = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", PORT), asking) as server:
        print(f"http://127.0.0.1:{PORT}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
