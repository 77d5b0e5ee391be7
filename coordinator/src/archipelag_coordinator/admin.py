"""An administrator's commands, over the running network's HTTP API: so that every Coordinator hears of them at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from archipelag_coordinator.config import AdminSettings
from archipelag_coordinator.errors import CoordinatorError

ANSWER_S: Final = 30.0
ISLAND: Final = re.compile(r"isl_[0-9a-z]{26}")
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "islands": ("id", "name", "status", "approved", "region", "load", "seen_at"),
    "users": ("id", "email", "role", "suspended", "created_at"),
    "cargos": ("id", "slug", "version", "status", "publisher"),
}


class AdminFailed(CoordinatorError):
    """The network did not do it; the text says why."""

    code = "error"


@dataclass(frozen=True)
class Admin:
    """Asks with an administrator's key. Every method raises AdminFailed."""

    settings: AdminSettings

    def islands(self) -> list[dict[str, Any]]:
        return self._list("/admin/islands", {})

    def cargos(self, status: str | None) -> list[dict[str, Any]]:
        return self._list("/admin/cargos", {"status": status} if status else {})

    def users(self, search: str | None) -> list[dict[str, Any]]:
        return self._list("/admin/users", {"search": search} if search else {})

    def move_island(self, island: str, act: str) -> dict[str, Any]:
        """`act`: approve, suspend or restore."""
        if not ISLAND.fullmatch(island):
            raise AdminFailed(
                f"{island!r} is not an Island: isl_… and 26 characters, see `admin islands`"
            )
        return dict(self._ask("POST", f"/admin/islands/{island}/{act}")["data"])

    def grant(self, who: str, amount: str, cause: str) -> dict[str, Any]:
        """`who`: usr_… or an address. The same cause gives the same person nothing twice."""
        user = who if who.startswith("usr_") else self._user_with(who)
        body = {"user_id": user, "credits": amount, "cause": cause}
        return dict(self._ask("POST", "/admin/grants", json=body)["data"])

    def _user_with(self, email: str) -> str:
        found = [one for one in self.users(email) if one["email"] == email.strip().lower()]
        if not found:
            raise AdminFailed(f"nobody has the address {email}")
        return str(found[0]["id"])

    def _list(self, path: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        return list(self._ask("GET", path, params=params)["data"])

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        if not self.settings.api_key:
            raise AdminFailed(
                "set ARCHIPELAG_API_KEY to a key of an administrator, such as `archipelag-coordinator bootstrap "
                "--new-key` prints"
            )
        url = f"{self.settings.api_url}/api/v1{path}"
        headers = {"Authorization": f"Bearer {self.settings.api_key}"}
        try:
            answer = httpx.request(
                method, url, headers=headers, timeout=ANSWER_S, trust_env=False, **more
            )
            body = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            why = str(error) or type(error).__name__
            raise AdminFailed(
                f"no Coordinator answers at {url} ({why}); check ARCHIPELAG_API_URL, and that it runs"
            ) from None
        if answer.status_code >= 400 or not isinstance(body, dict):
            raise AdminFailed(_refusal(answer.status_code, body))
        return body


def _refusal(status: int, body: Any) -> str:
    error = body.get("error", {}) if isinstance(body, dict) else {}
    if error.get("param") == "route":
        return "this Coordinator has no such door: is it older than this command?"
    fields = body.get("errors", {}) if isinstance(body, dict) else {}
    named = "; ".join(f"{name} {', '.join(why)}" for name, why in fields.items())
    return f"refused ({status}): {named or error.get('message', 'without a reason')}"


def table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For people. Names are their owners' choice, so nothing in them steers the terminal."""
    cells = [[cell(row.get(name)) for name in columns] for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [list(columns), *cells]
    ]


def cell(value: Any) -> str:
    """As it may stand in a line of a terminal."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(c if c.isprintable() else "?" for c in str(value))[:60]
