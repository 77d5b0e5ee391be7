"""The doctor: looks at everything an Island needs and says what to do about what is missing."""

from __future__ import annotations

from dataclasses import replace

from archipelag_contracts.findings import Finding, State, looked_at

from archipelag_island.adapters import status
from archipelag_island.adapters.doctor import home as homes
from archipelag_island.adapters.doctor import machine, network, owner
from archipelag_island.adapters.identity import Home
from archipelag_island.clock import Clock
from archipelag_island.config import Settings
from archipelag_island.errors import IslandError
from archipelag_island.services.ports import Standing

__all__ = ["Finding", "State", "examine"]


async def examine(settings: Settings, clock: Clock) -> list[Finding]:
    home = Home(settings.home)
    findings = [homes.private(home.folder), homes.folder(home)]
    standing: Standing | None = None
    if findings[1].well:
        try:
            standing = home.load()
            home.key()
        except IslandError as error:
            findings.append(looked_at("identity", False, "not readable", str(error)))
        else:
            settings = replace(settings, coordinator=home.coordinator(settings.coordinator))
            findings.append(homes.enrolled(settings, standing))
            findings += await network.coordinator(settings, home.key(), clock)
            if standing is not None:
                # A second line of this Island's would look, when it ends, as if the Island had gone.
                runs = status.read(settings.home) is not None
                for url in standing.broker_urls:
                    key = None if runs else home.key()
                    findings += await network.broker(url, standing.broker_jwt, key)
                findings.append(homes.credentials(standing, clock.now()))
                findings.append(homes.catalogue(settings.home, standing, clock.now()))
    findings += await machine.machine(settings)
    return [*findings, *owner.agent(settings.home), *await owner.rules(settings, clock)]
