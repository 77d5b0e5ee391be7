"""So that the tests find the code: it is a folder, not an installed package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
