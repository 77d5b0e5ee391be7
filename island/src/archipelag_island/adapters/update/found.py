"""What an Island needs to renew itself, as its owner set it."""

from __future__ import annotations

import platform
from pathlib import Path

from archipelag_contracts import cosign
from archipelag_contracts.errors import BadSignature

from archipelag_island.adapters.update.releases import HttpReleases
from archipelag_island.adapters.update.software import SoftwareFolder
from archipelag_island.domain.update import Consent
from archipelag_island.errors import BadSettings
from archipelag_island.services.update import Updates


def found_updates(url: str, software: Path, key: Path, consent: Consent) -> Updates:
    """`software`: as the installer laid it; `key`: a file with the key of those who release. Raises BadSettings."""
    if not (software / "versions").is_dir():
        raise BadSettings(f"ARCHIPELAG_ISLAND_SOFTWARE: {software} is not as the installer lays it")
    try:
        public = cosign.public_from_pem(key.read_bytes())
    except (OSError, BadSignature) as error:
        raise BadSettings(f"{key}, the key of those who release the software: {error}") from error
    releases, folder = HttpReleases(url), SoftwareFolder(software)
    return Updates(releases, folder, public, f"linux-{platform.machine()}", consent)
