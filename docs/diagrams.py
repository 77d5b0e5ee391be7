"""Draws docs/state-machines.md from the tables of moves; `--check` fails when the page is not what they say."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archipelag_coordinator.domain import attempt, batch, cargo, island, job, ledger
from archipelag_island.domain import update

PAGE = Path(__file__).parent / "state-machines.md"

HEAD = """\
# State machines

Drawn from the tables `MOVES` of nouns by `python docs/diagrams.py`; do not edit.
A state without a way out is final. Only the move's own method changes a state, and it asks the table first.
"""

NOUNS: Mapping[str, tuple[str, Mapping[Any, Any]]] = {
    "Job": ("What a customer asked for.", job.MOVES),
    "Attempt": ("One try of a job on one Island.", attempt.MOVES),
    "Batch": ("Many jobs that were asked for at once.", batch.MOVES),
    "Member of a batch": ("One input, until it is a job.", batch.MEMBER_MOVES),
    "Island": ("A host that runs our agent.", island.MOVES),
    "Reservation": ("Credits held for a job.", ledger.MOVES),
    "Cargo version": ("A signed version of a package of work.", cargo.MOVES),
    "Software of an Island": ("From a release that is taken to one that works.", update.MOVES),
}


def diagram(moves: Mapping[Any, Any]) -> str:
    """One Mermaid diagram, in the order in which the states are declared."""
    kind: Any = type(next(iter(moves)))
    states = list(kind)
    lines = ["stateDiagram-v2", f"    [*] --> {states[0].value}"]
    for state in states:
        lines += [f"    {state.value} --> {to.value}" for to in states if to in moves[state]]
        if not moves[state]:
            lines.append(f"    {state.value} --> [*]")
    return "\n".join(lines)


def page() -> str:
    parts = [
        f"\n## {name}\n\n{about}\n\n```mermaid\n{diagram(moves)}\n```\n"
        for name, (about, moves) in NOUNS.items()
    ]
    return HEAD + "".join(parts)


def main() -> None:
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/state-machines.md is not what the tables say: run `python docs/diagrams.py`")


if __name__ == "__main__":
    main()
