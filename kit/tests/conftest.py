"""Lets the tests import the Cargos that they try."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "cargos"))
