"""A stand-in for the model fetcher: an empty file."""

import sys
from pathlib import Path

folder = Path(sys.argv[sys.argv.index("--model-dir") + 1])
folder.mkdir(exist_ok=True)
(folder / "model.gguf").touch()
