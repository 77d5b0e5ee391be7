"""Serves the embeddings Cargo: `python -m archipelag_embeddings --socket PATH --manifest FILE --model FILE`."""

import os
import sys

# Read once, when numpy is imported: without it the matrix products take every core, whatever the Island allows.
THREADS = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv[:-1] else "1"
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = THREADS

from archipelag_kit import cargo  # noqa: E402

import archipelag_embeddings.answers  # noqa: E402, F401 - marks the function

cargo.main()
