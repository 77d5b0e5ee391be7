"""One request through real processes: its spans, its log lines, its exemplar, and what must be in none of them."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from .conftest import CANARY, WatchedRig

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
FOLLOW = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
WAY = {"POST", "authenticate", "place", "assign", "island.run", "cargo.run", "settle"}


async def ask(rig: WatchedRig, *, headers: dict[str, str]) -> str:
    """One chat that is not streamed; returns its job."""
    body = {
        "model": "slow-chat",
        "messages": [{"role": "user", "content": f"{CANARY} prompt"}],
        "max_tokens": 8,
    }
    answer = await rig.post("/chat/completions", json=body, headers=headers)
    return answer.headers["x-archipelag-job"]


async def test_a_request_is_followed_and_nothing_private_is_told(rig: WatchedRig) -> None:
    made = await rig.post("/api-keys", json={"name": f"{CANARY} key", "scopes": ["read", "write"]})
    key = made.json()["key"]
    job = await ask(rig, headers={**FOLLOW, "Authorization": f"Bearer {key}"})
    quiet = await ask(rig, headers={"Cookie": f"archipelag_session=as_{CANARY}"})

    async def whole() -> bool:
        return set(rig.receiver.of_trace(TRACE)) >= WAY

    await rig.until(whole, f"all of {sorted(WAY)} came")
    found = rig.receiver.of_trace(TRACE)
    services = {name: service for name, (service, _) in found.items()}
    assert {services[name] for name in ("island.run", "cargo.run")} == {"archipelag-island"}
    assert {services[name] for name in WAY - {"island.run", "cargo.run"}} == {
        "archipelag-coordinator"
    }
    ids = {name: span.span_id.hex() for name, (_, span) in found.items()}
    above = {name: span.parent_span_id.hex() for name, (_, span) in found.items()}
    assert above["POST"] == SPAN, "the customer's own trace goes on"
    assert above["island.run"] == ids["assign"], "over NATS into the Island"
    assert above["cargo.run"] == ids["island.run"], "into the Cargo"
    for name in ("authenticate", "place", "assign", "settle"):
        assert above[name] == ids["POST"], name

    page = await rig.page("application/openmetrics-text")
    assert re.search(rf'archipelag_first_item_seconds_bucket.* # {{trace_id="{TRACE}"}}', page)
    assert page.endswith("# EOF\n")

    for program in ("coordinator", "island-0", "island-1"):
        lines = (rig.home / f"{program}.log").read_text().splitlines()
        for line in lines:
            assert json.loads(line)["event"], line
    told = [json.loads(line) for line in (rig.home / "coordinator.log").read_text().splitlines()]
    settled = {one["job_id"]: one for one in told if one["event"] == "report_settled"}
    assert settled[job]["island_id"].startswith("isl_")
    assert settled[job]["fields"]["status"] == "succeeded"
    ends = {
        one["job_id"]: one["trace_id"]
        for number in (0, 1)
        for one in map(json.loads, (rig.home / f"island-{number}.log").read_text().splitlines())
        if one["event"] == "run_ended"
    }
    for asked in (job, quiet):
        # The quiet one, which nobody follows, can be found in the logs of both by its id all the same.
        (here,) = [trace for named, trace in ends.items() if named.startswith(asked)]
        assert here == settled[asked]["trace_id"]
    assert settled[job]["trace_id"] == TRACE

    await asyncio.sleep(1)  # What the quiet one would have sent would be here by now.
    followed = {span.trace_id.hex() for _, span in rig.receiver.spans}
    assert TRACE in followed and settled[quiet]["trace_id"] not in followed
    secret = (CANARY, key, rig.key)
    texts = {"figures": page} | {path.name: path.read_text() for path in rig.home.glob("*.log")}
    texts["spans"] = b"".join(rig.receiver.raw).decode("latin-1")
    assert len(texts) >= 5
    for name, text in texts.items():
        assert not [one for one in secret if one in text], f"something private is in {name}"
        assert job[:8] not in text or name != "figures", "no job is a label"
