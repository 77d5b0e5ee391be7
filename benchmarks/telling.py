"""Helper of the benchmarks: tells the figures of one, to the file that `bench.py` named, else to whoever reads."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final, NoReturn

import table
from figures import Figure, written

FILE: Final = "BENCH_FIGURES"
"""The environment's name of the file to which figures are added, a line of JSON each."""
CANNOT_RUN: Final = 69
"""How a benchmark ends that lacks something here: EX_UNAVAILABLE of sysexits.h."""


def state(figures: Iterable[Figure]) -> None:
    made = list(figures)
    if file := os.environ.get(FILE):
        with Path(file).open("a") as lines:
            lines.writelines(json.dumps(written(figure)) + "\n" for figure in made)
    else:
        print("\n" + table.text(made), flush=True)


async def state_all(figures: AsyncIterator[Figure]) -> None:
    """Once there are no more; also those that came before an error."""
    made = []
    try:
        async for figure in figures:
            made.append(figure)
    finally:
        state(made)


def need(*modules: str, by: str) -> None:
    """Refuses where one of them is not installed; `by`: the command that does that."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        refuse(f"{', '.join(missing)} is not installed: `{by}`")


def refuse(why: str) -> NoReturn:
    """Ends a benchmark that cannot run here, with a sentence that says what to do."""
    print(f"cannot run: {why}", file=sys.stderr, flush=True)
    sys.exit(CANNOT_RUN)
