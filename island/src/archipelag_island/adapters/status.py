"""The status file: what the agent is doing, for `archipelag-island status`."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any, Final

from archipelag_island.services.world import World

log = logging.getLogger(__name__)

FILE: Final = "status.json"


def snapshot(world: World, name: str, link_up: bool) -> dict[str, Any]:
    now = world.now
    return {
        "pid": os.getpid(),
        "at": world.clock.now().isoformat(timespec="seconds"),
        "island_id": world.host.island_id,
        "name": name,
        "broker_connected": link_up,
        "coordinator_answers": now.connected,
        "accepts_work": now.accepts_work and not now.draining,
        "notice": "stopping" if now.draining else now.notice,
        "broker_rtt_us": world.link.rtt_us(),
        "slots": world.host.slots,
        "slots_free": world.slots_free,
        "completed": now.completed,
        "refused": now.refused,
        "cargos": [
            {"slug": o.slug, "state": o.state.value, "reason": o.reason, "digest": o.digest}
            for o in now.offers.values()
        ],
        "runs": [
            {"job": str(key), "cargo": running.slug, "items": running.run.next}
            for key, running in now.runs.items()
        ],
        "unsettled": len(world.journal.all()),
    }


def write(folder: Path, status: dict[str, Any]) -> None:
    path = folder / FILE
    temporary = path.with_name(FILE + ".new")
    try:
        temporary.write_text(json.dumps(status, indent=1))
        temporary.replace(path)
    except OSError as error:
        log.debug("status_not_written error=%s", error)


def read(folder: Path) -> dict[str, Any] | None:
    """The newest status of a running agent; None when none runs."""
    try:
        status: dict[str, Any] = json.loads((folder / FILE).read_text())
        os.kill(int(status["pid"]), 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return status


def remove(folder: Path) -> None:
    (folder / FILE).unlink(missing_ok=True)
