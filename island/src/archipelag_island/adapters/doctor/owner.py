"""What its owner ordered or set, and whether this machine can tell what those rules go by."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from archipelag_contracts.findings import Finding, looked_at

from archipelag_island.adapters import orders, status
from archipelag_island.adapters.senses import HostSenses, line
from archipelag_island.clock import Clock
from archipelag_island.config import Settings
from archipelag_island.domain.owner import needs_the_machine
from archipelag_island.errors import ControlFailed, NotRunning
from archipelag_island.services.yield_to_owner import LOOK_S

# As many looks as it takes to tell how busy the processors are.
SENSE_LOOKS: Final = 3
RULES_ADVICE: Final = (
    "that is what its owner set; see ARCHIPELAG_ISLAND_PAUSE_… and _SCHEDULE in --help"
)
BLIND_ADVICE: Final = "use another rule, for example ARCHIPELAG_ISLAND_SCHEDULE"
TROUBLE_ADVICE: Final = "nothing has to be started again: work is taken as soon as it is mended"
AFAR_ADVICE: Final = (
    "resume it on its page in the network, or set ARCHIPELAG_ISLAND_REMOTE_ORDERS=no"
)
SOCKET_ADVICE: Final = "start the agent again; until then `drain` and `resume` do not reach it"


def agent(home: Path) -> list[Finding]:
    """What a running agent was told or found."""
    told = status.read(home)
    if told is None:
        advice = "start it with `archipelag-island run`"
        return [looked_at("agent", True, "none runs with this home", advice)]
    if not status.is_ours(told):
        return [looked_at("agent", False, "an agent of another version runs", "start it again")]
    found = [looked_at("agent", True, f"runs as process {told['pid']}")]
    try:
        orders.order(home, "progress")
    except (NotRunning, ControlFailed) as error:
        found = [looked_at("agent", False, f"it cannot be asked: {error}", SOCKET_ADVICE)]
    if told["drain"]["draining"]:
        afar = told["drain"].get("afar")
        advice = AFAR_ADVICE if afar else "take work again with `archipelag-island resume`"
        found.append(looked_at("drain", False, "it was drained and takes no work", advice))
    if told["pause"]["paused"]:
        after = f"it works again after {told['pause']['quiet_left_s']:.0f} s without a reason"
        found.append(
            looked_at(
                "pause", True, f"it is paused: {told['pause']['reason']}; {after}", RULES_ADVICE
            )
        )
    if told["trouble"]:
        found.append(looked_at("trouble", False, told["trouble"], TROUBLE_ADVICE))
    return found


async def rules(settings: Settings, clock: Clock) -> list[Finding]:
    """Rules that would pause now, and rules that can never pause, since this machine does not tell."""
    set_rules = settings.rules
    if not set_rules.any:
        return [looked_at("rules", True, "none are set: this Island never pauses for its owner")]
    senses = HostSenses(clock, os.getpid())
    for _ in range(SENSE_LOOKS):
        senses.read()
        await asyncio.sleep(LOOK_S)
    seen = senses.read()
    if set_rules.on_metered:
        seen = replace(seen, metered=await line.ask())
    blind = [
        name
        for name, is_set, reading in (
            ("ARCHIPELAG_ISLAND_PAUSE_CPU_PERCENT", set_rules.cpu_percent, seen.cpu_others),
            ("ARCHIPELAG_ISLAND_PAUSE_ON_INPUT", set_rules.on_input, seen.input_age_s),
            ("ARCHIPELAG_ISLAND_PAUSE_ON_BATTERY", set_rules.on_battery, seen.on_battery),
            ("ARCHIPELAG_ISLAND_PAUSE_ON_METERED", set_rules.on_metered, seen.metered),
        )
        if is_set and reading is None
    ]
    found = [
        looked_at(
            f"rule {name}", False, "this machine does not tell, so it never pauses", BLIND_ADVICE
        )
        for name in blind
    ]
    why = needs_the_machine(set_rules, seen)
    said = f"would pause now: {why}" if why else "none would pause now"
    return [*found, looked_at("rules", True, said, RULES_ADVICE if why else "")]
