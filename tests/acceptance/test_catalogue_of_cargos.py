"""The WASM Cargos that a network lists answer its customers, and a Cargo that is taken back is gone within seconds."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from decimal import Decimal
from typing import Any

import httpx
import pytest
from archipelag_contracts.manifest import parse_canonical

from .conftest import Network, wait_for

TEXT = "Seven islands, çay in each – and a ferry at 09:30."
CASES: dict[str, dict[str, Any]] = {
    "hash": {"text": TEXT, "algorithms": ["sha256", "blake2b", "crc32"]},
    "qr": {"text": "land ho", "format": "rows"},
    "markdown": {"text": "# Kos\n\n*<script>* & [x](javascript:alert(1))\n"},
    "regex": {"pattern": r"(\d\d):(\d\d)", "text": TEXT},
    "csv": {"text": "a,b\n2,x\n10,y\n", "output": "objects"},
    "json-query": {"query": "$..slots", "data": {"islands": [{"slots": 4}, {"slots": 1}]}},
    "diff": {"old": "one\ntwo\n", "new": "one\n2\n"},
}


def looked_at(slug: str, said: dict[str, Any], found: Any) -> None:
    """By Python's own reckoning."""
    match slug:
        case "hash":
            data = said["text"].encode()
            assert found["bytes"] == len(data)
            assert found["digests"] == {
                "sha256": hashlib.sha256(data).hexdigest(),
                "blake2b": hashlib.blake2b(data).hexdigest(),
                "crc32": f"{zlib.crc32(data):08x}",
            }
        case "qr":
            assert {len(row) for row in found["rows"]} == {found["size"]} == {len(found["rows"])}
            # The three eyes, by which a reader finds it.
            eye = "1111111"
            assert found["rows"][0].startswith(eye) and found["rows"][0].endswith(eye)
            assert found["rows"][-1].startswith(eye)
        case "markdown":
            assert found["html"].startswith("<h1>Kos</h1>\n<p><em>&lt;script&gt;</em> &amp;")
            assert "javascript" not in found["html"]
        case "regex":
            wanted = re.search(said["pattern"], TEXT)
            assert wanted is not None
            [one] = found["matches"]
            assert (one["text"], one["groups"]) == (wanted[0], list(wanted.groups()))
        case "csv":
            assert found["rows"] == [{"a": "2", "b": "x"}, {"a": "10", "b": "y"}]
        case "json-query":
            assert found["values"] == [4, 1]
        case _:
            assert (found["removed"], found["added"]) == (1, 1)
            assert "-two\n+2\n" in found["unified"]


@pytest.mark.parametrize("slug", sorted(CASES))
def test_a_listed_module_answers_as_python_reckons(network: Network, slug: str) -> None:
    wait_for(lambda: slug in offered(network), f"{slug} is offered", 60)

    with network.http() as http:
        ended = ended_job(http, slug, CASES[slug])

    assert ended["status"] == "completed", ended
    looked_at(slug, CASES[slug], json.loads(ended["output"]))
    assert Decimal(ended["usage"]["credits_used"]) > 0


def listed(network: Network, slug: str, text: str, suffix: str = "toml") -> str:
    """Lists a Cargo of this test's own and gives its number."""
    manifest = network.home / f"{slug}.{suffix}"
    manifest.write_text(text)
    network.coordinator("cargo", "publish", str(manifest))

    with network.http() as http:
        wait_for(lambda: http.get(f"/workloads/{slug}").is_success, f"{slug} is listed")
        found = http.get("/admin/cargos", params={"limit": 100}).json()["data"]
    return next(str(cargo["id"]) for cargo in found if cargo["slug"] == slug)


def module_as(network: Network, slug: str) -> str:
    """The network's own hash module under another name: the same image, signed by the same key."""
    known = parse_canonical((network.home / "cargos" / "hash.json").read_bytes().strip())
    raw = json.loads(known.canonical()) | {"slug": slug}
    return json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize("how", ["revoked", "withdrawn"])
def test_a_module_that_is_taken_back_runs_nowhere_within_seconds(
    network: Network, how: str
) -> None:
    slug = f"{how}-hash"
    number = listed(network, slug, module_as(network, slug), "json")
    with network.http() as http:
        wait_for(lambda: slug in offered(network), f"{slug} is offered", 60)
        assert ended_job(http, slug, {"text": "x"})["status"] == "completed"

        take_back(http, number, how)

        refused = http.post("/jobs", json={"workload": slug, "input": {"text": "x"}})
        wait_for(lambda: slug not in offered(network), "every Island dropped it")
        still = ended_job(http, "hash", {"text": "x"})
    assert refused.status_code in (404, 410), refused.text
    assert still["status"] == "completed", "its neighbour of the same image went with it"


NOWHERE = """
slug = "{slug}"
version = "1.0.0"
name = "Nowhere"
description = "Its engine is on no Island."
license = "Apache-2.0"
kind = "json"
runtime = "native"
engine = "{engine}"

[needs]
memory_mb = 128

[limits]
tier = "restricted"
seconds = 60
output_items_max = 4096
output_bytes_max = 65536
progress_s = 30

[price]
job_ucredits = 1000
output_item_ucredits = 10
"""


@pytest.mark.parametrize("how", ["revoked", "withdrawn"])
def test_a_job_that_waits_for_it_ends_and_costs_nothing(network: Network, how: str) -> None:
    slug = f"{how}-nowhere"
    number = listed(network, slug, NOWHERE.format(slug=slug, engine="nobody-has-it"))
    with (
        network.http() as admin,
        network.http(network.user(f"{slug}@example.org", "10")) as customer,
    ):
        job = started(customer, slug, {"text": "x"})

        take_back(admin, number, how)

        ended = wait_for(lambda: ended_of(customer, job), "its job ended")
        left = customer.get("/account").json()["data"]["credits"]
    assert (ended["status"], ended["cause"]) == ("failed", f"cargo_{how}")
    assert (ended["usage"]["credits_used"], left) == ("0", "10")


def test_a_run_of_a_revoked_cargo_is_stopped_and_costs_nothing(network: Network) -> None:
    slug = "revoked-echo"
    number = listed(network, slug, NOWHERE.format(slug=slug, engine="echo"))
    with (
        network.http() as admin,
        network.http(network.user(f"{slug}@example.org", "10")) as customer,
    ):
        wait_for(lambda: slug in offered(network), f"{slug} is offered", 60)
        job = started(customer, slug, {"text": "on and on", "items": 4000, "delay_ms": 50})
        wait_for(lambda: status_of(customer, job) == "running", "it runs", 60)

        take_back(admin, number, "revoked")

        ended = wait_for(lambda: ended_of(customer, job), "its job ended")
        wait_for(lambda: slug not in offered(network), "every Island dropped it")
        left = customer.get("/account").json()["data"]["credits"]
    assert (ended["status"], ended["cause"], left) == ("failed", "cargo_revoked", "10")


def take_back(http: httpx.Client, number: str, how: str) -> None:
    if how == "revoked":
        done = http.post(f"/admin/cargos/{number}/revoke", json={"reason": "a test"})
    else:
        done = http.delete(f"/cargos/{number}")
    assert done.status_code == 200, done.text
    assert done.json()["data"]["status"] == how


def offered(network: Network) -> set[str]:
    """What Islands say that they have or could start."""
    with network.http() as http:
        hosts = http.get("/hosts").json()["data"]
    return {offer["slug"] for host in hosts for offer in host["cargos"]}


def started(http: httpx.Client, slug: str, said: dict[str, Any]) -> str:
    answer = http.post("/jobs", json={"workload": slug, "input": said})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


def ended_job(http: httpx.Client, slug: str, said: dict[str, Any]) -> dict[str, Any]:
    job = started(http, slug, said)
    ended: dict[str, Any] = wait_for(lambda: ended_of(http, job), f"{slug} answers", 60)
    return ended


def ended_of(http: httpx.Client, job: str) -> dict[str, Any] | None:
    shown: dict[str, Any] = http.get(f"/jobs/{job}").json()["data"]
    return None if shown["status"] in ("pending", "queued", "running") else shown


def status_of(http: httpx.Client, job: str) -> str:
    return str(http.get(f"/jobs/{job}").json()["data"]["status"])
