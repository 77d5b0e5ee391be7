"""A stand-in for the Island: enrols once, has a child of its own, and says that its model is warm."""

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

home = Path(os.environ["ARCHIPELAG_ISLAND_HOME"])
if os.environ.get("STANDIN_FAILS") == "island":
    sys.exit("island: the stand-in was told to fail")
if not (home / "identity.json").exists():
    assert os.environ["ARCHIPELAG_PAIRING_CODE"] == "ABC234"
    (home / "identity.json").write_text("{}")
assert (Path(os.environ["ARCHIPELAG_MODEL_DIR"]) / "model.gguf").exists()

# An engine that outlives a killed Island, as the worst one would.
engine = [sys.executable, "-c", "import time; time.sleep(600)"]
subprocess.Popen(engine, start_new_session=True)
url = f"http://127.0.0.1:{os.environ['ARCHIPELAG_HTTP_PORT']}/warm"
urllib.request.urlopen(url, data=b"{}").close()
time.sleep(600)
