"""What only the Coordinator knows of this Island, asked with its owner's key: earnings, karma, why no work comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import httpx
from archipelag_contracts.ids import IslandId

from archipelag_island.errors import AccountRefused, CoordinatorUnreachable

ANSWER_S: Final = 10.0
PAGE: Final = 100
ROWS_MAX: Final = 10_000
"""Of a Coordinator that does not add up by itself: so many attempts are read at most."""
KEY_ADVICE: Final = (
    "what an Island earned is its owner's to see: set ARCHIPELAG_API_KEY to a key of your account with the scope "
    "`read`, and ARCHIPELAG_API_URL to the network's API"
)


@dataclass(frozen=True)
class Earning:
    """Of one day, or with one Cargo; amounts in credits."""

    name: str
    attempts: int
    completed: int
    seconds: float
    paid: Decimal
    owed: Decimal


class Account:
    """Asks as the owner. Every method raises AccountRefused or CoordinatorUnreachable."""

    def __init__(self, api_url: str, api_key: str, island: IslandId) -> None:
        if not api_key:
            raise AccountRefused(KEY_ADVICE)
        self._island = island
        base = api_url.split(",", maxsplit=1)[0].strip().rstrip("/").removesuffix("/api/v1")
        self._url = f"{base}/api/v1/hosts/{island}"
        self._headers = {"Authorization": f"Bearer {api_key}"}

    def karma(self) -> dict[str, Any]:
        return dict(_data(self._get("/karma"), Mapping))

    def why(self) -> list[str]:
        """Why it gets no work, in words; empty where it does, or where the Coordinator cannot say."""
        answer = self._get("/why", may_lack=True)
        if answer is None:
            return []
        told = _data(answer, Mapping)
        return [str(one["reason"]) for one in told.get("reasons", ()) if "reason" in one]

    def earnings(self, by: str, first: date, last: date) -> list[Earning]:
        """`by` is `day` or `workload`; days of UTC, both included, newest first or highest paid first."""
        params = {"by": by, "from": first.isoformat(), "to": last.isoformat()}
        answer = self._get("/earnings", params, may_lack=True)
        if answer is not None:
            rows = [_earning(by, row) for row in _data(answer, Sequence)]
        elif by == "day":
            rows = self._added_up(first, last)
        else:
            return []
        return sorted(rows, key=lambda row: row.name if by == "day" else row.paid, reverse=True)

    def _added_up(self, first: date, last: date) -> list[Earning]:
        """From single attempts, newest first, where the Coordinator is too old to add them up."""
        days: dict[str, Earning] = {}
        for offset in range(0, ROWS_MAX, PAGE):
            rows = _data(self._get("/usage", {"limit": PAGE, "offset": offset}), Sequence)
            for row in rows:
                day = str(row["ended_at"])[:10]
                if first.isoformat() <= day <= last.isoformat():
                    days[day] = _plus(days.get(day), day, row)
            if len(rows) < PAGE or str(rows[-1]["ended_at"])[:10] < first.isoformat():
                break
        return list(days.values())

    def _get(
        self, path: str, params: Mapping[str, Any] | None = None, *, may_lack: bool = False
    ) -> Any:
        """None: `may_lack`, and this Coordinator has no such route."""
        url = f"{self._url}{path}"
        try:
            answer = httpx.get(
                url, params=params, headers=self._headers, timeout=ANSWER_S, trust_env=False
            )
            body = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise CoordinatorUnreachable(
                f"no Coordinator answers at {url} ({error or type(error).__name__}); check ARCHIPELAG_API_URL"
            ) from None
        if answer.status_code == 200:
            return body
        told = body.get("error", {}) if isinstance(body, dict) else {}
        if may_lack and told.get("param") == "route":
            return None
        raise AccountRefused(self._refusal(answer.status_code, str(told.get("message", ""))))

    def _refusal(self, status: int, message: str) -> str:
        match status:
            case 401:
                return f"the Coordinator does not take this ARCHIPELAG_API_KEY: {message}"
            case 403:
                return f"this ARCHIPELAG_API_KEY may not look: {message}"
            case 404:
                return f"{self._island} is not an Island of this key's account, or of this network"
            case _:
                return f"the Coordinator answers {status}: {message}"


def span(days: int, today: date) -> tuple[date, date]:
    """The last so many days, today included."""
    return today - timedelta(days=days - 1), today


def _earning(by: str, row: Mapping[str, Any]) -> Earning:
    return Earning(
        name=str(row[by]),
        attempts=int(row["attempts"]),
        completed=int(row["completed"]),
        seconds=float(row["seconds"]),
        paid=_amount(row["credits"]),
        owed=_amount(row["owed"]),
    )


def _plus(so_far: Earning | None, day: str, row: Mapping[str, Any]) -> Earning:
    before = so_far or Earning(day, 0, 0, 0.0, Decimal(0), Decimal(0))
    paid = _amount(row["paid_from_charge"]) + _amount(row["paid_from_insurance"])
    return Earning(
        day,
        before.attempts + 1,
        before.completed + (row["cause"] == "completed"),
        before.seconds + float(row["seconds"]),
        before.paid + paid,
        before.owed + _amount(row["owed"]),
    )


def _amount(text: Any) -> Decimal:
    try:
        return Decimal(str(text))
    except InvalidOperation:
        raise CoordinatorUnreachable(
            "the Coordinator's answer makes no sense: update this agent"
        ) from None


def _data(answer: Any, kind: Any) -> Any:
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, kind):
        raise CoordinatorUnreachable("the Coordinator's answer makes no sense: update this agent")
    return data
