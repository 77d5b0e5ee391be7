"""Does it come true how long jobs are foretold to wait, and are those served who come back when they are told to?

    python benchmarks/waits.py [--loads 0.8 1.2 2 4] [--seeds 3] [--lasts 300]

A network of eight slots and twelve accounts, in virtual time and through the shipping verbs over the store in memory:
requests come by chance, jobs last log-normally long, and another account has a backlog of 300 jobs. Whoever is sent
away comes back at the time that they were told. Differences are what a wait took less what was foretold, in seconds.
"""

from __future__ import annotations

import argparse
import asyncio

from rush import Crowd, rush

SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.8, 1.2, 2.0, 4.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lasts", type=float, default=300.0)
    options = parser.parse_args()
    shares = "".join(f"{f'p{100 * share:.0f}':>7}" for share in SHARES)
    print(f"load  seed  begun  in line{shares}  refused  came back  served  timed out")
    for load in options.loads:
        for seed in range(1, options.seeds + 1):
            found = asyncio.run(rush(Crowd(seed=seed, load=load, lasts_s=options.lasts)))
            told = "".join(f"{one:7.1f}" for one in found.quantiles(*SHARES))
            back = f"{found.refused:9}{found.came_back:11}{found.served:8}{found.timed_out:11}"
            print(f"{load:4}{seed:6}{found.begun:7}{len(found.waits):9}{told}{back}", flush=True)


if __name__ == "__main__":
    main()
