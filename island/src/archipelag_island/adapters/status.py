"""The status file: what the agent is doing, for `archipelag-island status`."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from archipelag_contracts.units import to_credits

from archipelag_island.domain.owner import Readings, Rules
from archipelag_island.services import drain
from archipelag_island.services.world import World

log = logging.getLogger(__name__)

FILE: Final = "status.json"
# Rises when something in it gets another meaning or goes away.
FORMAT: Final = 2


def snapshot(world: World, name: str, link_up: bool) -> dict[str, Any]:
    now = world.now
    return {
        "format": FORMAT,
        "pid": os.getpid(),
        "at": world.clock.now().isoformat(timespec="seconds"),
        "island_id": world.host.island_id,
        "name": name,
        "broker_connected": link_up,
        "coordinator_answers": now.connected,
        "accepts_work": now.accepts_work and world.takes_work,
        "notice": now.notice,
        "broker_rtt_us": world.link.rtt_us(),
        "slots": world.host.slots,
        "slots_free": world.slots_free,
        "completed": now.completed,
        "refused": now.refused,
        "trouble": world.trouble,
        "drain": asdict(drain.progress(world)),
        "pause": {
            "paused": now.owner.paused,
            "reason": now.owner.reason,
            "quiet_left_s": now.owner.quiet_left_s(world.rules, world.clock.monotonic()),
        },
        "rules": _rules(world.host.rules, now.readings),
        "wishes": _wishes(world),
        "caps": _caps(world),
        "cargos": [
            {"slug": o.slug, "state": o.state.value, "reason": o.reason, "digest": o.digest}
            for o in now.offers.values()
        ],
        "runs": [
            {
                "job": str(key),
                "cargo": running.slug,
                "items": running.run.next,
                "age_s": world.clock.monotonic() - (running.run.began or running.run.started),
            }
            for key, running in now.runs.items()
        ],
        "unsettled": len(world.journal.all()),
    }


def _rules(rules: Rules, seen: Readings) -> dict[str, dict[str, Any]]:
    """Each rule as it is set, and what this machine tells; null: off, or not told."""
    is_open = None if seen.local is None else rules.schedule.is_open(seen.local)
    return {
        "cpu": {
            "others_percent_max": rules.cpu_percent or None,
            "others_percent": None if seen.cpu_others is None else 100 * seen.cpu_others,
        },
        "input": {"on": rules.on_input, "age_s": seen.input_age_s},
        "battery": {"on": rules.on_battery, "on_battery": seen.on_battery},
        "metered": {"on": rules.on_metered, "metered": seen.metered},
        "schedule": {"times": rules.schedule.text or None, "open": is_open},
        "quiet_s": {"after": rules.quiet_s},
    }


def _wishes(world: World) -> dict[str, Any]:
    """What was asked for from afar; `taken` is whether this machine's owner lets that count."""
    wishes, local = world.now.wishes, world.now.readings.local
    return {
        "taken": world.host.remote_orders,
        "version": wishes.version,
        "draining": wishes.draining,
        "times": wishes.schedule.text or None,
        "open": None if local is None else wishes.schedule.is_open(local),
        "least_prices": {
            slug: {
                "per_job": to_credits(price.job_ucredits),
                "per_prompt_token": to_credits(price.prompt_token_ucredits),
                "per_output_item": to_credits(price.output_item_ucredits),
            }
            for slug, price in wishes.least.items()
        },
    }


def _caps(world: World) -> dict[str, dict[str, Any]]:
    caps, taken = world.host.caps, world.now.taken
    return {
        "cores": {"cap": caps.cores or None, "taken": taken.cores, "cpus": list(world.host.cpus)},
        "memory_bytes": {
            "cap": caps.memory_bytes or None,
            "taken": taken.memory_bytes,
            "claimed": sum(world.now.memory_claims.values()),
        },
        "send_bytes_per_s": {
            "cap": caps.send_bytes_per_s or None,
            "taken": taken.send_bytes_per_s,
            "sent_bytes": world.bucket.sent_bytes,
        },
        "disk_bytes": {"cap": caps.disk_bytes or None, "taken": taken.disk_bytes},
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


def is_ours(told: dict[str, Any]) -> bool:
    """Whether the agent that wrote it means by it what we mean."""
    return told.get("format") == FORMAT


def remove(folder: Path) -> None:
    (folder / FILE).unlink(missing_ok=True)
