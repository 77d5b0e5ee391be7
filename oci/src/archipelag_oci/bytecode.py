"""Compiled Python for an image whose root is read-only: made here once, or every start would compile again.

Unchecked: the image's digest is what says that source and bytecode belong together. Compiled by one fresh interpreter,
in order and without a random hash seed, so that the bytes are the same each time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from archipelag_oci.errors import BuildFailed
from archipelag_oci.image import File

COMPILE_S: Final = 900

_PROGRAM: Final = """
import json, py_compile, sys, warnings
warnings.simplefilter("ignore")
for number, (source, shown, target) in enumerate(json.load(sys.stdin)):
    try:
        py_compile.compile(source, target, shown, doraise=True,
                           invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except (py_compile.PyCompileError, UnicodeDecodeError, ValueError):
        pass
"""


def compiled(files: Sequence[File], folder: Path) -> list[File]:
    """The bytecode of those that are Python modules; what does not compile, such as a template, has none."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs: list[tuple[str, str, str]] = []
    made: list[File] = []
    for file in sorted(files, key=lambda each: each.path):
        if not file.path.endswith(".py") or not isinstance(file.content, Path):
            continue
        parent, _, name = file.path.rpartition("/")
        cached = f"{name.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc"
        target = folder / f"{len(jobs)}.pyc"
        jobs.append((str(file.content), "/" + file.path, str(target)))
        made.append(File(f"{parent}/__pycache__/{cached}", target))
    if jobs:
        _run(jobs)
    return [file for file in made if isinstance(file.content, Path) and file.content.exists()]


def _run(jobs: list[tuple[str, str, str]]) -> None:
    done = subprocess.run(
        [sys.executable, "-s", "-S", "-P", "-c", _PROGRAM],
        input=json.dumps(jobs).encode(),
        # Nothing of our own environment but the seed: with -I, that would not be read either.
        env={"PYTHONHASHSEED": "0"},
        capture_output=True,
        timeout=COMPILE_S,
        check=False,
    )
    if done.returncode != 0:
        raise BuildFailed(f"compiling failed: {done.stderr.decode(errors='replace')[-500:]}")
