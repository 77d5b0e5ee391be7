"""`make soak`: a network under many streams for long, while Islands come and go and Coordinators are replaced.

python -m tests.soak [--minutes 30] [--streams 500] [--out artifacts/soak]
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from tests.chaos.network import started
from tests.chaos.parts import ROOT

from . import report
from .running import Length, soak

ABOUT = {
    "minutes": "how long the crowd stays",
    "streams": "open at every moment",
    "rate": "items a second of each stream",
    "islands": "real ones that stay",
    "real": "streams that the real Islands have room for; Islands of the mass carry the others",
    "replace_every_s": "seconds between two replacements of a Coordinator",
    "strike_every_s": "seconds between two Islands that are struck, on average",
    "visit_every_s": "seconds between two Islands that come and leave for good",
    "sample_every_s": "seconds between two looks at memory",
    "first_crowd_s": "how long the crowd stays that comes before",
    "seed": "of texts, lengths and faults",
}


def say(what: str) -> None:
    print(what, flush=True)


def arguments_of(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("soak", description=(__doc__ or "").splitlines()[0])
    for one in fields(Length):
        if one.name in ABOUT:
            name = "--" + one.name.removesuffix("_s").replace("_", "-")
            told = f"{ABOUT[one.name]} (default: %(default)s)"
            parser.add_argument(
                name, dest=one.name, type=type(one.default), default=one.default, help=told
            )
    parser.add_argument("--out", type=Path, default=ROOT / "artifacts" / "soak")
    return parser.parse_args(given)


async def main() -> int:
    given = vars(arguments_of(sys.argv[1:]))
    out: Path = given.pop("out")
    length = Length(**given)
    running = asyncio.current_task()
    assert running is not None
    # Asked to stop, we stop what we started.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    async with started(length.plan()) as network:
        figures = await soak(network, length, say)
        if not figures.kept:
            network.keep = True
            say(f"   logs: {network.home}")
    for line in report.told(figures):
        say(line)
    command = " ".join(["python -m tests.soak", *sys.argv[1:]])
    say(f"   report: {report.write(out, figures, command)}")
    return 0 if figures.kept else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
