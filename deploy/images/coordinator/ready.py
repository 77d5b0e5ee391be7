"""Whether the Coordinator of this container can serve, for container engines that ask by a command."""

import os
import sys
import urllib.error
import urllib.request

port = os.environ.get("ARCHIPELAG_HTTP_PORT") or "8420"
try:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/ready", timeout=4) as answer:
        sys.exit(answer.status != 200)
except (urllib.error.URLError, OSError) as error:
    sys.exit(f"not ready: {error}")
