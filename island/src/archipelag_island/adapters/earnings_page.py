"""Earnings as people read them: a table of days and one of Cargos, each with a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any, Final

from archipelag_island.adapters.account import Earning

BAR_CHARS: Final = 20
NAME_CHARS: Final = 24


def page(days: Sequence[Earning], cargos: Sequence[Earning]) -> list[str]:
    if not days:
        return ["nothing yet: no attempt ended here within these days"]
    total = sum((row.paid for row in days), Decimal(0))
    owed = sum((row.owed for row in days), Decimal(0))
    lines = [f"{_credits(total)} credits earned, by {sum(row.attempts for row in days)} attempts"]
    if owed:
        lines.append(f"{_credits(owed)} credits more are owed: the insurance could not pay them")
    lines += ["", *_table("day (UTC)", days)]
    return [*lines, "", *_table("Cargo", cargos)] if cargos else lines


def told(days: Sequence[Earning], cargos: Sequence[Earning]) -> dict[str, Any]:
    """For programs: amounts are text, so that none is rounded."""
    return {"days": [_plain(row) for row in days], "cargos": [_plain(row) for row in cargos]}


def _table(name: str, rows: Sequence[Earning]) -> list[str]:
    most = max((row.paid for row in rows), default=Decimal(0))
    lines = [f"  {name:<{NAME_CHARS}} {'attempts':>8} {'done':>6} {'hours':>8} {'credits':>12}"]
    for row in rows:
        bar = "█" * int(BAR_CHARS * row.paid / most) if most > 0 else ""
        shown = "".join(c if c.isprintable() else "?" for c in row.name)[:NAME_CHARS]
        counts = f"{row.attempts:>8} {row.completed:>6} {row.seconds / 3600:>8.2f}"
        lines.append(f"  {shown:<{NAME_CHARS}} {counts} {_credits(row.paid):>12}  {bar}".rstrip())
    return lines


def _credits(amount: Decimal) -> str:
    return f"{amount:.4f}"


def _plain(row: Earning) -> dict[str, Any]:
    return asdict(row) | {"paid": str(row.paid), "owed": str(row.owed)}
