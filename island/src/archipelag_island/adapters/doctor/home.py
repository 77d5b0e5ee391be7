"""What lies in the Island's home: its key, what enrolment gave it, its catalogue."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from archipelag_contracts.errors import ContractError
from archipelag_contracts.findings import Finding, looked_at

from archipelag_island.adapters import codec
from archipelag_island.adapters.identity import KEY_FILE, STANDING_FILE, Home
from archipelag_island.adapters.shelf import FileShelf
from archipelag_island.config import Settings
from archipelag_island.errors import IslandError
from archipelag_island.services.ports import Standing

OTHERS: Final = 0o077
SECRETS: Final = (KEY_FILE, STANDING_FILE)
SOON_S: Final = 24 * 3600.0
"""A catalogue that ends within this time should have been renewed long ago."""


def private(folder: Path) -> Finding:
    """Looked at before anything that mends it."""
    open_to_others = [
        path.name or str(path)
        for path in (folder, *(folder / name for name in SECRETS))
        if path.exists() and path.stat().st_mode & OTHERS
    ]
    if folder.exists() and folder.stat().st_uid not in (os.geteuid(), 0):
        advice = "run the doctor as the user that the agent runs as, or set ARCHIPELAG_ISLAND_HOME"
        return looked_at("rights", False, f"{folder} belongs to another user", advice)
    if open_to_others:
        advice = (
            f"`chmod -R go= {folder}`; if other people use this machine, remove {KEY_FILE} and {STANDING_FILE} "
            "and join again: who has read the key can pass for this Island"
        )
        return looked_at(
            "rights", False, f"other users may read {', '.join(open_to_others)}", advice
        )
    return looked_at("rights", True, "key and credentials are its owner's alone")


def folder(home: Home) -> Finding:
    try:
        home.prepare()
    except IslandError as error:
        return looked_at("folder", False, str(home.folder), str(error))
    return looked_at("folder", True, str(home.folder))


def enrolled(settings: Settings, standing: Standing | None) -> Finding:
    if standing is not None:
        if standing.approved:
            return looked_at("enrolment", True, f"{standing.island_id}")
        advice = "ask the network's operator; until then it gets no work. A running agent hears of it by itself"
        return looked_at("enrolment", True, f"{standing.island_id}, not approved yet", advice)
    if settings.coordinator and settings.pairing_code:
        return looked_at("enrolment", True, "not yet; a pairing code is set")
    advice = (
        "make a pairing code in your account and `archipelag-island join HOST:PORT CODE`; or set "
        "ARCHIPELAG_COORDINATOR and ARCHIPELAG_PAIRING_CODE"
    )
    return looked_at("enrolment", False, "not yet", advice)


def credentials(standing: Standing, now: datetime) -> Finding:
    """Credentials that seem to have ended are mostly a wrong clock."""
    hours = (standing.broker_jwt_expires_at - now).total_seconds() / 3600
    if hours > 0:
        return looked_at("credentials", True, f"valid for {hours:.1f} more hours")
    advice = "check this machine's clock (timedatectl); a running agent renews them by itself"
    return looked_at("credentials", False, f"ended {-hours:.1f} hours ago", advice)


def catalogue(home: Path, standing: Standing, now: datetime) -> Finding:
    """An expired catalogue offers nothing: the list of what may run could have been held back from us."""
    try:
        kept = FileShelf(home / "catalogue.json")
        kept.highest()
        sealed = kept.document()
        document = codec.read_document(sealed, set(standing.catalogue_keys)) if sealed else None
    except IslandError as error:
        return looked_at("catalogue", False, "not readable", str(error))
    except ContractError as error:
        advice = f"remove {home / 'catalogue.signed'}: the next heartbeat brings it anew"
        return looked_at("catalogue", False, f"not what the network signed: {error}", advice)
    if document is None:
        if not standing.catalogue_keys:
            return looked_at("catalogue", True, "of the older kind, which does not expire")
        advice = "it comes with the first heartbeat: start the agent with `archipelag-island run`"
        return looked_at("catalogue", True, "none yet", advice)
    issued = datetime.fromtimestamp(document.issued_at_ms / 1000, UTC)
    left_s = document.expires_at_ms / 1000 - now.timestamp()
    age_h = (now - issued).total_seconds() / 3600
    found = f"version {document.version}, {len(document.entries)} Cargos, {age_h:.1f} hours old"
    if left_s <= 0:
        advice = (
            "it is renewed by the next answered heartbeat: see Coordinator and broker above, and the clock; until "
            "then no Cargo is offered"
        )
        return looked_at("catalogue", False, f"{found}, expired {-left_s / 3600:.1f} h ago", advice)
    advice = "" if left_s > SOON_S else "no Coordinator has renewed it lately; see above"
    return looked_at("catalogue", True, f"{found}, good for {left_s / 3600:.1f} more", advice)
