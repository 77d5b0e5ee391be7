"""Runs the benchmarks one after another and shows one table for every path: our figure, the peer's and the limit.

    make bench                                    # all, about 17 minutes on two quiet cores
    make bench ARGS=--quick                       # all, each for a moment: whether they run, not what they say
    make bench ARGS="ledger placement"            # some
    make bench ARGS="--against artifacts/bench/OLD.json"

Writes the table as JSON and Markdown, and what each printed, to `artifacts/bench`. One that fails does not hide the
others; the command then ends with an error.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import figures
import litellm_proxy
import machine
import running
import table
from running import Benchmark, Ended

VERSION: Final = 1
"""Of the JSON file."""
CLEAR: Final = "\r\x1b[K"
"""Begins a terminal's line anew."""
OUT: Final = machine.ROOT / "artifacts" / "bench"

SLOW: Final = "--rate 20 --rate-of-many 20"
FEW: Final = "--islands 200 --lines 5 --warm 3 --seconds 2 --away 1 --after 1"
BENCHMARKS: Final = (
    Benchmark("relay", 340, 42, quick=f"--only floor archipelag {SLOW} --tokens 40 --seconds 0.5"),
    Benchmark("requests", 75, 14, quick="--only archipelag --seconds 1"),
    Benchmark("end_to_end", 45, 20, quick="--tokens 16 --repetitions 1"),
    Benchmark("ledger", 30, 14, quick="--seconds 0.3", whole="--seconds 2.5"),
    Benchmark("placement", 20, 4, quick="--jobs 8"),
    Benchmark("heartbeats", 110, 30, quick=FEW, whole="--seconds 15"),
    Benchmark("prefixes", 45, 25, quick="--turns 2 --question 60 --answer 12", whole="--turns 3"),
    Benchmark("runtimes", 50, 14, quick="--times 1"),
    Benchmark("wasm_cargos", 15, 7, quick="--runs 5"),
    Benchmark("items", 10, 4, quick="--turns 1"),
    Benchmark("wire", 45, 12, quick="--seconds 0.2"),
    Benchmark("sse", 30, 5, quick="--seconds 0.3"),
    Benchmark("observing", 25, 4, quick="--jobs 5 --streams 0"),
    Benchmark("cargos", 20, 7, quick="--turns 1"),
    Benchmark("nearby", 110, 25, quick="--loads 0.5 --seconds 1 --rounds 1 --warm 3"),
    Benchmark("local_first", 15, 2, quick="--jobs 200", states=False),
    Benchmark("waits", 20, 1, quick="--loads 1.2 --seeds 1 --lasts 4", states=False),
)
BY_HAND: Final = ("assignment_transport", "conversations", "lines", "llm_bit_equality")
"""They answer a question of a decision record, when it is asked anew."""


def main() -> int:
    options = _options()
    chosen = [one for one in BENCHMARKS if not options.names or one.name in options.names]
    before = _read(options.against) if options.against else None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Either way, everything is stopped.
    here = machine.described()
    print(machine.sentence(here), *filter(None, [machine.warning(here)]), sep="\n")
    if litellm_proxy.found() is None:
        print("note: LiteLLM is not installed, so that its column is empty: `make litellm`")
    expected = sum(one.expected_s(options.quick) for one in chosen)
    names = ", ".join(one.name for one in chosen)
    print(f"{names}: about {expected} s on two quiet cores\n", flush=True)
    began = datetime.now(UTC)
    stem = options.out / began.strftime("%Y-%m-%dT%H%M%SZ")
    ended: list[Ended] = []
    try:
        for benchmark in chosen:
            number = f"[{len(ended) + 1}/{len(chosen)}]"
            ended.append(_one(benchmark, number, stem, options.quick, alone=len(chosen) == 1))
    except KeyboardInterrupt:
        print("\nstopped; what was measured until then:", flush=True)
    stated = [figure for one in ended for figure in one.figures]
    _write(stem, began, here, options.quick, ended)
    print(f"\n{table.text(stated)}\n")
    if before is not None:
        _compare(before, here, options.quick, stated)
    for one in ended:
        if one.ended != "done":
            print(f"{one.name} {one.ended}: {one.why}")
    print(*filter(None, [machine.warning(here)]), f"written: {stem}.json, {stem}.md", sep="\n")
    return any(one.ended == "failed" for one in ended) or len(ended) < len(chosen)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = [one.name for one in BENCHMARKS]
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; none: all"
    )
    parser.add_argument("--quick", action="store_true", help="each for a moment")
    parser.add_argument("--against", type=Path, metavar="FILE", help="an earlier run's JSON")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER")
    options = parser.parse_args()
    options.names = [Path(name).stem for name in options.names]
    for name in options.names:
        if name in BY_HAND:
            parser.error(f"{name} is run by hand: python benchmarks/{name}.py")
        if name not in known:
            parser.error(f"no benchmark is called {name}; there are: {', '.join(known)}")
    return options


def _one(benchmark: Benchmark, number: str, stem: Path, quick: bool, *, alone: bool) -> Ended:
    """One alone says its words to the terminal."""
    title = f"{number} {benchmark.name}, about {benchmark.expected_s(quick)} s"
    said = None if alone else stem / f"{benchmark.name}.txt"
    tick = _progress(title) if sys.stdout.isatty() and not alone else _silent
    if tick is _silent:
        print(title, flush=True)
    ended = running.run(benchmark, quick=quick, said=said, tick=tick)
    start = CLEAR if tick is not _silent else ""
    why = f": {ended.why}" if ended.why else ""
    print(
        f"{start}{number} {benchmark.name} {ended.ended} in {ended.seconds:.0f} s{why}", flush=True
    )
    return ended


def _silent(_: float) -> None:
    pass


def _progress(title: str) -> Callable[[float], None]:
    return lambda passed_s: print(f"{CLEAR}{title}: {passed_s:.0f} s", end="", flush=True)


def _write(
    stem: Path, began: datetime, here: dict[str, Any], quick: bool, ended: Sequence[Ended]
) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    stated = [figure for one in ended for figure in one.figures]
    benchmarks = [
        {"name": one.name, "ended": one.ended, "seconds": round(one.seconds, 1), "why": one.why}
        for one in ended
    ]
    document = {
        "version": VERSION,
        "began": began.isoformat(timespec="seconds"),
        "quick": quick,
        "machine": here,
        "benchmarks": benchmarks,
        "figures": [figures.written(one) for one in stated],
    }
    stem.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    parts = [
        f"# Measured on {began:%Y-%m-%d}{', each for a moment only' if quick else ''}",
        f"`make bench{' ARGS=--quick' if quick else ''}`: {machine.sentence(here)}.",
        machine.warning(here),
        *(f"`{one.name}` {one.ended}: {one.why}" for one in ended if one.ended != "done"),
        table.markdown(stated),
    ]
    stem.with_suffix(".md").write_text("\n\n".join(filter(None, parts)) + "\n")


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"{file} cannot be read: {error}") from None
    if document.get("version") != VERSION:
        raise SystemExit(f"{file} is no file of this program, or of another version of it")
    return dict(document)


def _compare(
    before: dict[str, Any], here: dict[str, Any], quick: bool, stated: Sequence[figures.Figure]
) -> None:
    earlier = [figures.read(one) for one in before["figures"]]
    then = before["machine"]
    print(f"Against {before['began']}, commit {then['commit']}:")
    if quick or before["quick"]:
        print("warning: a quick run says nothing about speed")
    if (then["processor"], then["cores"]) != (here["processor"], here["cores"]):
        print(f"warning: that was another machine: {machine.sentence(then)}")
    elif then["busy"] or here["busy"]:
        print("warning: the machine was busy in one of the two")
    print(f"{table.against(earlier, stated)}\n")


if __name__ == "__main__":
    sys.exit(main())
