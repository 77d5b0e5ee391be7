"""People on a whole network: an operator adds them, an administrator suspends them, and the log tells of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from .conftest import Network


def test_an_administrator_suspends_a_person_at_once_and_the_log_says_so(network: Network) -> None:
    secret = network.user("reads-of-herself@example.org", "5")
    asked = ("--email", "root@example.org", "--role", "admin")
    admin = json.loads(network.coordinator("user", "add", *asked))
    with network.http(secret) as hers, network.http(admin["api_key"]) as http:
        user = hers.get("/account").json()["data"]["id"]
        found = http.get("/admin/users", params={"search": "reads-of-herself@"}).json()["data"]
        http.post(f"/admin/users/{user}/suspend").raise_for_status()
        refused = hers.get("/account")
        http.post(f"/admin/users/{user}/restore").raise_for_status()
        back = hers.get("/account")
        log = http.get("/admin/audit", params={"limit": 2}).json()["data"]
        check = http.get("/admin/audit/check").json()["data"]
        by_her = hers.get("/admin/audit")

    assert [one["id"] for one in found] == [user]
    assert (refused.status_code, back.status_code, by_her.status_code) == (403, 200, 403)
    assert [(one["actor"], one["act"], one["subject"]) for one in log] == [
        (admin["user_id"], "user.restore", user),
        (admin["user_id"], "user.suspend", user),
    ]
    assert check["whole"] and check["hash"] == log[0]["hash"]


def test_a_role_is_not_changed_behind_an_administrators_back(network: Network) -> None:
    network.user("bob@example.org", "0")
    env = os.environ | {
        "ARCHIPELAG_DATABASE_URL": network.database_url,
        "ARCHIPELAG_NATS_URL": network.nats_url,
        "ARCHIPELAG_STATE_DIR": str(network.home / "coordinator"),
    }
    arguments = ["user", "add", "--email", "bob@example.org", "--role", "admin"]
    done = subprocess.run(
        [sys.executable, "-m", "archipelag_coordinator", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1 and "stands already, as user" in done.stderr


def test_without_a_provider_nobody_is_sent_away(network: Network) -> None:
    site = network.api_url.removesuffix("/v1").removesuffix("/api")
    with network.http() as http:
        answer = http.get(f"{site}/openid/begin")

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?refused=")
