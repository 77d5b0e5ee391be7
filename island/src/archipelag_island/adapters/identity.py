"""This Island's key and what enrolment gave it, in files that only its owner reads."""

from __future__ import annotations

import base64
import fcntl
import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.signing import SigningKey

from archipelag_island.errors import AlreadyRunning, BadSettings
from archipelag_island.services.ports import Standing

log = logging.getLogger(__name__)

KEY_FILE: Final = "key"
STANDING_FILE: Final = "identity.json"
COORDINATOR_FILE: Final = "coordinator"


class Home:
    """The agent's own folder. Two agents never share one: the lock is held until the process ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: int | None = None

    def prepare(self) -> None:
        """Raises BadSettings when the folder cannot be used."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.chmod(0o700)
        except OSError as error:
            raise BadSettings(
                f"cannot use {self.folder} as this Island's folder ({error.strerror}); "
                "set ARCHIPELAG_ISLAND_HOME to one that you may write to"
            ) from error

    def lock(self) -> None:
        """Raises AlreadyRunning."""
        handle = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise AlreadyRunning(
                f"another agent already uses {self.folder}; stop it, or set another ARCHIPELAG_ISLAND_HOME"
            ) from None
        self._lock = handle

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def key(self) -> SigningKey:
        """This Island's own key, made at the first call. The private half never leaves this file."""
        path = self.folder / KEY_FILE
        try:
            seed = bytes.fromhex(path.read_text().strip())
        except FileNotFoundError:
            key = SigningKey.generate()
            write_private(path, key.seed().hex().encode() + b"\n")
            return key
        except ValueError:
            seed = b""
        if len(seed) != 32:
            raise BadSettings(f"{path} is not a key; restore it, or remove it and enrol anew")
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return SigningKey.from_seed(seed)

    def load(self) -> Standing | None:
        """What enrolment gave; None before it."""
        path = self.folder / STANDING_FILE
        try:
            return _standing(json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError, BadId) as error:
            raise BadSettings(
                f"{path} cannot be read ({error}); remove it and enrol with a new pairing code"
            ) from None

    def coordinator(self, named: str) -> str:
        """Where enrolment is: as `named` now, or else as it was the last time; kept for the next start."""
        path = self.folder / COORDINATOR_FILE
        if named:
            try:
                write_private(path, f"{named}\n".encode())
            except OSError as error:
                log.warning("coordinator_not_kept error=%s", error)
            return named
        return path.read_text().strip() if path.exists() else ""

    def save(self, standing: Standing) -> None:
        raw = {
            "island_id": standing.island_id,
            "broker_urls": list(standing.broker_urls),
            "broker_jwt": standing.broker_jwt,
            "broker_jwt_expires_at": standing.broker_jwt_expires_at.isoformat(),
            "assignment_keys": [_text(key) for key in standing.assignment_keys],
            "publisher_keys": [_text(key) for key in standing.publisher_keys],
            "approved": standing.approved,
            "catalogue_keys": [_text(key) for key in standing.catalogue_keys],
        }
        write_private(self.folder / STANDING_FILE, json.dumps(raw, indent=2).encode())


def write_private(path: Path, data: bytes) -> None:
    """All of it or nothing, readable by its owner alone, on disk when it returns."""
    temporary = path.with_name(path.name + ".new")
    handle = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _standing(raw: dict[str, Any]) -> Standing:
    return Standing(
        island_id=ids.island_id(raw["island_id"]),
        broker_urls=tuple(str(url) for url in raw["broker_urls"]),
        broker_jwt=str(raw["broker_jwt"]),
        broker_jwt_expires_at=datetime.fromisoformat(raw["broker_jwt_expires_at"]).astimezone(UTC),
        assignment_keys=tuple(base64.b64decode(key) for key in raw["assignment_keys"]),
        publisher_keys=tuple(base64.b64decode(key) for key in raw["publisher_keys"]),
        approved=bool(raw["approved"]),
        catalogue_keys=tuple(base64.b64decode(key) for key in raw.get("catalogue_keys", ())),
    )


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()
