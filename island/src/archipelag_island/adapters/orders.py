"""The owner's orders to a running agent: what travels over the control socket, and what is done about it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from archipelag_island.adapters.control import ask
from archipelag_island.errors import ControlFailed
from archipelag_island.services import drain
from archipelag_island.services.drain import Progress
from archipelag_island.services.world import World


def obey(world: World, wish: dict[str, Any]) -> dict[str, Any]:
    """Does what `op` says and tells how far a drain is. Raises ValueError."""
    match wish.get("op"):
        case "drain":
            drain.begin(world, _within_s(wish.get("within_s", world.host.drain_s)))
        case "resume":
            drain.resume(world)
        case "progress":
            pass
        case other:
            raise ValueError(f"no such order: {other!r}"[:100])
    return asdict(drain.progress(world))


def order(home: Path, op: str, **details: Any) -> Progress:
    """Raises NotRunning or ControlFailed."""
    said = ask(home, {"op": op, **details})
    try:
        return Progress(
            bool(said["draining"]),
            int(said["runs"]),
            int(said["handed_over"]),
            float(said["left_s"]),
            int(said["undelivered"]),
            bool(said.get("afar")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ControlFailed(f"the agent answered what nobody understands: {error}") from error


def _within_s(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("within_s is not a number")
    if not 0 <= value <= drain.WITHIN_S_MAX:
        raise ValueError(f"within_s must be 0 to {drain.WITHIN_S_MAX}")
    return float(value)
