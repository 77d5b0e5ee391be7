"""Runs the builder over pages that were laid out for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import staged

ROOT: Final = Path(__file__).resolve().parents[1]
BUILDER: Final = ROOT / ".venv" / "site" / "bin" / "zensical"


def build(folder: Path) -> None:
    """Raises SystemExit where the builder is missing or complains."""
    if not BUILDER.exists():
        raise SystemExit("error: the builder is not installed: `make site` does it")
    work = folder.with_name(f"{folder.name}-pages")
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    staged.stage(ROOT, work)
    command = [BUILDER, "build", "--strict", "--config-file", "zensical.toml"]
    done = subprocess.run(command, cwd=work, check=False)
    if done.returncode != 0:
        raise SystemExit("error: the website was not built: see above")
    # The builder writes below its own folder only.
    (work / "site").rename(folder)
    for path in folder.rglob("*.map"):
        path.unlink()
