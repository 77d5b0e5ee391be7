"""The operator's doctor: looks at settings, this machine, keys, database, brokers, doors, mail, chores, the ledger and
what will end; changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from archipelag_contracts.findings import Finding, State, fail, ok

from archipelag_coordinator import config
from archipelag_coordinator.clock import Clock
from archipelag_coordinator.doctor import (
    broker,
    database,
    doors,
    ends,
    keys,
    machine,
    mail,
    regions,
)
from archipelag_coordinator.errors import InvalidInput

__all__ = ["Finding", "State", "examine"]


async def examine(environ: Mapping[str, str], clock: Clock) -> list[Finding]:
    """All that can be told: what a broken part would tell is left out."""
    try:
        settings = config.read(environ)
    except InvalidInput as error:
        advice = "see `archipelag-coordinator --help` and docs/reference/settings.md"
        return [fail(name, "; ".join(why), advice) for name, why in error.errors.items()]
    found = [ok("settings", settings.describe())]
    found += machine.examine(settings)
    found += keys.examine(settings.state_dir)
    of_database = await database.examine(settings, clock)
    found += of_database
    # Without its keys nobody gets past the broker's door.
    held = keys.loaded(settings.state_dir)
    if held is not None:
        found += await broker.examine(settings, held, clock)
        if all(one.state is not State.FAIL for one in of_database):
            found += await regions.examine(settings, held, clock)
    found += await doors.examine(settings)
    found += await ends.examine(settings, clock)
    return [*found, *await mail.examine(settings)]
