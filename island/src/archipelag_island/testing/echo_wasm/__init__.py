"""The echo Cargo as a WASM module: `echo.wasm`, built from `echo.c` by `build.py`."""

from pathlib import Path
from typing import Final

MODULE: Final = Path(__file__).parent / "echo.wasm"
