"""The whole description of the API under attack: what fits it, and what does not, gets an answer that it tells of.

Each operation is asked with generated requests, sensible and not, half of them about things that are there: by the
customer whose they are, by an administrator and by nobody. The requests are the same in every run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from archipelag_coordinator.domain.attempt import Cause
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .attacked import Attacked, attacked

Seen = Counter[tuple[str, int]]
"""Path and status of each answer."""
EXAMPLES = {"user": 20, "admin": 8, "nobody": 2}
ANSWER_S = 10
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {},
    {"Range": "bytes=0-1"},
    {"Range": "bytes=99-"},
    {"Range": "nonsense", "If-None-Match": '"x"'},
    {"Last-Event-ID": "1"},
    {"Last-Event-ID": "x"},
    {"Idempotency-Key": "same"},
    {"Idempotency-Key": "two words"},
    {"X-Archipelag-On-Disconnect": "perhaps"},
    {"X-Stainless-Retry-Count": "1"},
    {"Content-Encoding": "gzip"},
    {"X-Request-ID": "a b"},
)
"""What a request may carry beside what is described; one of these goes with each."""
TOLD: list[Any] = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ASK_A_MODEL = {
    "/api/v1/chat/completions": "llm-chat",
    "/api/v1/embeddings": "embeddings",
    "/api/v1/images/generations": "image",
    "/api/v1/audio/transcriptions": "transcription",
}
NOBODYS_FAULT = {Cause.COMPLETED, Cause.REFUSED, Cause.NO_CAPACITY, Cause.COORDINATOR_LOST}
"""What no report says."""


@pytest.fixture(scope="module")
def there() -> Iterator[Attacked]:
    with attacked(Cause.COMPLETED) as running:
        yield running


@pytest.fixture(scope="module")
def failing() -> Iterator[Attacked]:
    """Its jobs end in every way but well."""
    with attacked(*(cause for cause in Cause if cause not in NOBODYS_FAULT)) as running:
        yield running


def operations(there: Attacked) -> list[APIOperation[Any, Any, Any]]:
    document = httpx.get(f"{there.url}/api/v1/openapi.json").json()
    found = []
    for one in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(one, Ok), one
        operation = one.ok()
        # The doors under `/v1` are the same ones.
        if operation.path.startswith("/api/v1/"):
            found.append(operation)
    return found


def attack(there: Attacked, operation: Any, caller: str, checks: list[Any], seen: Seen) -> None:
    """Raises what schemathesis found."""
    cases = st.one_of(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
    )
    secret = there.secrets[caller]
    key = {"Authorization": f"Bearer {secret}"} if secret else {}

    @settings(
        max_examples=EXAMPLES[caller],
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases, named=st.integers(0, 5), beside=st.sampled_from(HEADERS))
    def ask(case: Case, named: int, beside: dict[str, str]) -> None:
        name_what_is_there(case, there, named)
        answer = case.call(base_url=there.url, headers=key | beside, timeout=ANSWER_S)
        seen[operation.path, answer.status_code] += 1
        case.validate_response(answer, checks=checks)

    ask()


def name_what_is_there(case: Case, there: Attacked, named: int) -> None:
    """Two of three requests name things that are there, or were until they were deleted."""
    if named >= 4:
        return
    for name in case.path_parameters or {}:
        if known := there.ids.get(name):
            case.path_parameters[name] = known[named % len(known)]
    if isinstance(case.body, dict):
        if "model" in case.body and case.operation.path in ASK_A_MODEL:
            case.body["model"] = ASK_A_MODEL[case.operation.path]
        if "workload" in case.body:
            case.body["workload"] = "llm-chat"
        if "user_id" in case.body:
            case.body["user_id"] = there.ids["user_id"][0]


@pytest.mark.parametrize("caller", EXAMPLES)
def test_every_answer_is_one_that_the_description_tells_of(there: Attacked, caller: str) -> None:
    seen: Seen = Counter()
    found = [
        problem
        for operation in operations(there)
        for problem in problems(there, operation, caller, [not_a_server_error, *TOLD], seen)
    ]

    assert not found, "\n\n".join(found)
    statuses = {status for _, status in seen}
    expected = {
        "user": {200, 201, 400, 403, 404, 422},
        "admin": {200, 404, 422},
        "nobody": {200, 401},
    }
    assert statuses >= expected[caller], "the attack did not come far"
    if caller == "user":
        unheard = [path for path in ASK_A_MODEL if not seen[path, 200]]
        assert not unheard, "no request came as far as an answer"


def test_jobs_that_fail_are_told_of_too(failing: Attacked) -> None:
    seen: Seen = Counter()
    found = [
        problem
        for operation in operations(failing)
        if operation.path in ASK_A_MODEL
        for problem in problems(failing, operation, "user", [no_mistake_of_ours, *TOLD], seen)
    ]

    assert not found, "\n\n".join(found)
    assert {status for _, status in seen} >= {422, 502, 503, 504}, seen


def problems(
    there: Attacked, operation: Any, caller: str, checks: list[Any], seen: Seen
) -> list[str]:
    try:
        attack(there, operation, caller, checks, seen)
    except (FailureGroup, httpx.HTTPError, requests.RequestException) as error:
        return [f"{operation.label}, asked by {caller}: {error}"]
    return []


def no_mistake_of_ours(_: Any, response: Any, case: Case) -> None:
    """What went wrong on an Island is a 502, 503 or 504; 500 is our own."""
    assert response.status_code != 500, case.as_curl_command()
