"""Usage, transfers and earnings over HTTP: whose they are, within which days, and as a table that does no harm."""

from __future__ import annotations

import base64
import csv
import io
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from archipelag_coordinator.apps.api.csv_text import cell, csv_of
from archipelag_coordinator.domain.user import Role
from archipelag_coordinator.testing.builders import a_grant, a_key, a_secret

from .conftest import Api
from .test_description import description, problems
from .test_jobs import made

FORMULA = '=HYPERLINK("http://evil.example","x")'


async def a_paid_job(api: Api) -> str:
    job = await made(api)
    await api.answer("Hel", "lo")
    return str(job["id"])


async def owner_client(api: Api) -> httpx.AsyncClient:
    secret = a_secret()
    async with api.scene.store.begin() as tx:
        await tx.keys.add(a_key(api.scene.owner, secret=secret))
    return api.client(secret)


async def got(api: Api, http: httpx.AsyncClient, path: str, shape: str, **params: Any) -> Any:
    answer = await http.get(path, params=params)
    assert answer.status_code == 200, answer.text
    schema = (await description(api))["components"]["schemas"][shape]
    assert problems(await description(api), schema, answer.json(), "answer") == []
    return answer.json()


def rows_of(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


@pytest.mark.parametrize(
    ("by", "named"),
    [
        ("day", {"day": "2026-01-01"}),
        ("workload", {"workload": "llm-chat"}),
    ],
)
async def test_usage_is_what_was_charged(api: Api, by: str, named: dict[str, str]) -> None:
    await a_paid_job(api)
    await a_paid_job(api)
    async with api.client() as http:
        told = await got(api, http, "/usage", "UsageList", by=by)
        table = rows_of(await http.get("/usage", params={"by": by, "format": "csv"}))

    figures = {"jobs": 2, "prompt_tokens": 10, "completion_tokens": 4, "credits": "0.0006"}
    assert told["data"] == [named | figures]
    assert told["meta"] == {"from": "2025-12-03", "to": "2026-01-01", "by": by}
    assert table == [{name: str(value) for name, value in (named | figures).items()}]


async def test_usage_by_key_names_the_key_and_is_never_somebody_elses(api: Api) -> None:
    await a_paid_job(api)
    _, _, secret = await api.another()
    async with api.client() as http, api.client(secret) as stranger:
        (row,) = (await got(api, http, "/usage", "UsageList", by="key"))["data"]
        theirs = await got(api, stranger, "/usage", "UsageList", by="key")

    assert row["key_name"] == "test" and row["key_id"].startswith("key_")
    assert theirs["data"] == []


async def test_days_outside_are_left_out(api: Api) -> None:
    await a_paid_job(api)
    api.scene.clock.advance(timedelta(days=40).total_seconds())
    async with api.client() as http:
        lately = await got(api, http, "/usage", "UsageList")
        then = await got(
            api, http, "/usage", "UsageList", **{"from": "2026-01-01", "to": "2026-01-01"}
        )
        before = await got(
            api, http, "/usage", "UsageList", **{"from": "2025-12-01", "to": "2025-12-31"}
        )

    assert (len(lately["data"]), len(then["data"]), len(before["data"])) == (0, 1, 0)


BAD = [
    ({"from": "yesterday"}, "from"),
    ({"from": "2026-02-30"}, "from"),
    ({"from": "20260101"}, "from"),
    ({"from": "2026-01-01T00:00:00Z"}, "from"),
    ({"from": "1999-12-31"}, "from"),
    ({"to": "9999-12-31"}, "to"),
    ({"to": ""}, "to"),
    ({"from": "2026-01-01' OR 1=1"}, "from"),
    ({"from": "2024-01-01", "to": "2025-01-01"}, "from"),
    ({"from": "2026-01-02", "to": "2026-01-01"}, "to"),
    ({"by": "month"}, "by"),
    ({"by": ""}, "by"),
    ({"format": "xls"}, "format"),
]


@pytest.mark.parametrize(("params", "field"), BAD, ids=str)
async def test_bad_ranges_are_named(api: Api, params: dict[str, str], field: str) -> None:
    (island,) = api.scene.world.fleet.islands()
    _, _, admin = await api.another(role=Role.ADMIN)
    async with api.client(admin) as http:
        for path in ("/usage", f"/hosts/{island.id}/earnings"):
            answer = await http.get(path, params=params)
            assert answer.status_code == 422, answer.text
            assert field in answer.json()["errors"]


async def test_earnings_are_what_was_paid_and_for_the_owner_only(api: Api) -> None:
    await a_paid_job(api)
    (island,) = api.scene.world.fleet.islands()
    path = f"/hosts/{island.id}/earnings"
    async with await owner_client(api) as owner, api.client() as customer:
        told = await got(api, owner, path, "EarningsList", by="workload")
        table = rows_of(await owner.get(path, params={"format": "csv"}))
        refused = await customer.get(path)
        shapeless = await owner.get("/hosts/none/earnings")
        api.scene.world.fleet.forget(island.id)
        still = await owner.get(path)

    (row,) = told["data"]
    assert (row["workload"], row["attempts"], row["completed"]) == ("llm-chat", 1, 1)
    assert (row["output_items"], row["prompt_tokens"]) == (2, 5)
    assert row["credits"] == row["paid_from_charge"] and float(row["credits"]) > 0
    assert table[0]["day"] == "2026-01-01" and table[0]["credits"] == row["credits"]
    assert (refused.status_code, shapeless.status_code) == (404, 404)
    assert still.status_code == 200, "an Island that is cut off earned what it earned"


async def test_transfers_show_every_move_with_its_balance(api: Api) -> None:
    api.scene.clock.advance(1)
    job = await a_paid_job(api)
    async with api.client() as http, await owner_client(api) as owner:
        mine = (await got(api, http, "/account/transfers", "TransferList"))["data"]
        theirs = (await got(api, owner, "/account/transfers", "TransferList"))["data"]
        balance = (await http.get("/account")).json()["data"]["credits"]

    charge = next(one for one in mine if one["kind"] == "charge")
    assert (charge["amount"], charge["job_id"], charge["account"]) == ("-0.0003", job, "spending")
    assert charge["key_id"].startswith("key_")
    assert charge["balance_after"] == balance
    (earning,) = theirs
    assert (earning["kind"], earning["account"]) == ("earning", "earnings")
    assert earning["key_id"] is None, "whose key it was is the customer's business"


async def test_transfers_are_read_page_by_page(api: Api) -> None:
    async with api.scene.store.begin() as tx:
        for number in range(7):
            await tx.ledger.transfer(a_grant(api.scene.user, 10, f"gift {number}"))
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 3}
    async with api.client() as http:
        while True:
            page = await got(api, http, "/account/transfers", "TransferList", **params)
            seen += [one["note"] for one in page["data"]]
            if page["meta"]["next"] is None:
                break
            params["before"] = page["meta"]["next"]
        table = await http.get("/account/transfers", params={"format": "csv", "limit": 3})
        rest = await http.get(
            "/account/transfers",
            params={"format": "csv", "before": table.headers["x-archipelag-next"]},
        )

    assert len(seen) == len(set(seen)) == 8
    assert [row["note"] for row in rows_of(table) + rows_of(rest)] == seen
    assert "x-archipelag-next" not in rest.headers


def place(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


WHEN = "2026-01-01T00:00:00+00:00"
BAD_PLACES = [
    "x",
    "x" * 2_000,
    "é",
    "",
    place(),
    place(WHEN, "a"),
    place(WHEN, "a", 3),
    place(WHEN, "nul \0", "b"),
    place("2026-01-01T00:00:00", "a", "b"),
    place("9999-12-31T23:59:59+00:00", "a", "b"),
    place(5, "a", "b"),
    base64.urlsafe_b64encode(b"[" * 700).decode(),
]


@pytest.mark.parametrize("before", BAD_PLACES, ids=range(len(BAD_PLACES)))
async def test_a_place_that_is_none_is_422(api: Api, before: str) -> None:
    async with api.client() as http:
        answer = await http.get("/account/transfers", params={"before": before})

    assert answer.status_code == 422, answer.text
    assert "before" in answer.json()["errors"]


@pytest.mark.parametrize("limit", ["0", "-1", "101", "x", "1e3"])
async def test_a_limit_that_is_none_is_422(api: Api, limit: str) -> None:
    async with api.client() as http:
        answer = await http.get("/account/transfers", params={"limit": limit})

    assert answer.status_code == 422 and "limit" in answer.json()["errors"]


async def test_a_place_of_somebody_else_shows_nothing_of_theirs(api: Api) -> None:
    await a_paid_job(api)
    stranger, _, secret = await api.another()
    theirs = place("2030-01-01T00:00:00+00:00", "~", f"user:{api.scene.user.id}")
    async with api.client(secret) as http:
        told = await got(api, http, "/account/transfers", "TransferList", before=theirs)

    assert [one["id"] for one in told["data"]] == [f"grant:{stranger.id}:test"]


async def test_no_name_becomes_a_formula(api: Api) -> None:
    await api.another_key(name=FORMULA)
    async with api.scene.store.begin() as tx:
        (key,) = [one for one in await tx.keys.of_user(api.scene.user.id) if one.name == FORMULA]
        await tx.ledger.transfer(a_grant(api.scene.user, 10, "@SUM(A1)"))
    secret = await api.another_key(name=FORMULA, id="key_" + "0" * 26)
    async with api.client(secret) as http:
        await http.post(
            "/jobs", json={"workload": "llm-chat", "input": {"prompt": "x", "max_tokens": 8}}
        )
        await api.answer("x")
        usage = rows_of(await http.get("/usage", params={"by": "key", "format": "csv"}))
        moves = rows_of(await http.get("/account/transfers", params={"format": "csv"}))

    assert key.name == FORMULA
    assert [row["key_name"] for row in usage] == ["'" + FORMULA]
    assert "'@SUM(A1)" in [row["note"] for row in moves]
    assert "-0.0002" in [row["amount"] for row in moves], "a number stays one"


@pytest.mark.parametrize("first", [*"=+-@\t\r\n＝＋－＠"])
def test_whatever_begins_like_a_formula_is_text(first: str) -> None:
    assert cell(f"{first}1+1") == f"'{first}1+1"


@pytest.mark.parametrize("value", ["-1", "-0.5", "12", "a=b", " =1", "", 7, 2.5])
def test_other_cells_stay_as_they_are(value: Any) -> None:
    assert cell(value) == str(value)


def test_quotes_commas_and_line_breaks_come_back_as_they_were() -> None:
    rows = [{"a": 'say "x", twice', "b": "two\r\nlines"}, {"a": None}]

    text = csv_of(["a", "b"], rows)

    assert text == 'a,b\r\n"say ""x"", twice","two\r\nlines"\r\n,\r\n'
    assert [*csv.reader(io.StringIO(text, newline=""))][1] == ['say "x", twice', "two\r\nlines"]
