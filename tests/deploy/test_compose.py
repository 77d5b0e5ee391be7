"""The Compose file says only what its parts understand."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

import pytest
from archipelag_coordinator import config as coordinator
from archipelag_coordinator.domain.policy import Policy
from archipelag_island import config as island
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from . import composed

KUBERNETES = composed.COMPOSE.parent / "kubernetes/base/coordinator.yaml"
OVER = ("", composed.FIRST, composed.LINKED)
"""The file as it is, and with each that makes a region of it laid over it."""
WATCHING = {f"ARCHIPELAG_{name}" for name in ("METRICS_TOKEN", "NATS_MONITOR_URLS", "LOG_FORMAT")}
"""Of the part that deploy/observability belongs to, for a tree that does not have it yet."""


def known_settings() -> set[str]:
    """Every name that one of our programs reads."""
    of_coordinator = {f"ARCHIPELAG_{one.name.upper()}" for one in fields(coordinator.Settings)}
    of_policy = {f"ARCHIPELAG_POLICY_{one.name.upper()}" for one in fields(Policy)}
    of_island = {f"ARCHIPELAG_{name}" for name, *_ in island.SETTINGS}
    watching = set() if composed.OBSERVABILITY.exists() else WATCHING
    return of_coordinator | of_policy | of_island | watching | {"FORWARDED_ALLOW_IPS"}  # uvicorn's


@pytest.mark.parametrize("over", OVER)
def test_it_is_what_the_specification_calls_a_compose_file(over: str) -> None:
    specification = pytest.importorskip("compose_spec")

    specification.PyCompose.from_json(json.dumps(composed.document(over=over))).validate()


@pytest.mark.parametrize("name", sorted(composed.FILLED))
def test_nothing_starts_without_what_only_its_operator_knows(name: str) -> None:
    example = (composed.COMPOSE / "env.example").read_text()

    with pytest.raises(KeyError, match=name):
        composed.text({**composed.FILLED, name: ""})
    assert f"\n{name}=" in f"\n{example}"
    assert re.search(r"^\w*PASSWORD=$", example, re.M), "an example password would be used"


@pytest.mark.parametrize(
    ("over", "name"),
    [(over, name) for over, given in composed.FILLED_OF.items() for name in given],
)
def test_no_region_starts_without_its_names_and_addresses(over: str, name: str) -> None:
    given = {**composed.FILLED, **composed.FILLED_OF[over], name: ""}

    with pytest.raises(KeyError, match=name):
        composed.text(given, over)
    assert f"\n#{name}=" in (composed.COMPOSE / "env.example").read_text()


@pytest.mark.parametrize("over", OVER)
def test_every_setting_is_one_that_is_read(over: str) -> None:
    given = {
        name: service["environment"]
        for name, service in composed.services(over=over).items()
        if "archipelag-" in service["image"] and "environment" in service
    }

    assert {"coordinator-1", "coordinator-2", "island-1", "migrate"} <= set(given)
    unknown = {
        (name, setting)
        for name, settings in given.items()
        for setting in settings
        if setting not in known_settings()
    }
    assert unknown == set()
    coordinator.read(given["coordinator-1"])
    island.read(given["island-1"])


async def test_whoever_comes_through_the_proxy_is_counted_by_their_own_address() -> None:
    """Else one stranger uses up everybody's mails for signing in; and nobody is who they say that they are."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])

    given = composed.services()["coordinator-1"]["environment"]["FORWARDED_ALLOW_IPS"]
    door = ProxyHeadersMiddleware(app, given)
    for proxy, said in (
        ("172.18.0.7", b"203.0.113.9"),
        ("172.18.0.7", b"10.1.1.1, 203.0.113.9"),
        ("172.18.0.7", b"198.51.100.1, 203.0.113.9, 192.168.1.1"),
        ("203.0.113.9", b"198.51.100.1"),
    ):
        scope = {"type": "http", "client": (proxy, 1), "headers": [(b"x-forwarded-for", said)]}
        await door(scope, None, None)  # type: ignore[arg-type]

    assert seen == ["203.0.113.9"] * 4
    kubernetes = KUBERNETES.read_text()
    assert f"  FORWARDED_ALLOW_IPS: {given}\n" in kubernetes


def test_every_file_that_is_mounted_stands_here() -> None:
    watched = composed.OBSERVABILITY.exists()
    needed = [
        (name, path)
        for name, path in composed.mounted()
        if watched or composed.OBSERVABILITY not in path.parents
    ]

    assert len(needed) >= 4
    assert [f"{name}: {path}" for name, path in needed if not path.exists()] == []


@pytest.mark.parametrize("over", OVER)
def test_ours_run_as_nobody_with_nothing_that_they_do_not_need(over: str) -> None:
    ours = [s for s in composed.services(over=over).values() if "archipelag-" in s["image"]]

    assert len(ours) >= 7
    for service in ours:
        assert service["user"] == "65534:65534" and service["read_only"] is True
        assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
    for service in composed.services().values():
        assert not [v for v in service.get("volumes", ()) if "docker.sock" in str(v)]
        # A tag that moves by itself would make two starts two networks.
        assert "localhost/" in service["image"] or not service["image"].endswith(":latest")


def test_only_doors_for_the_world_are_published() -> None:
    published = {n for n, s in composed.services().items() if s.get("ports")}
    document = composed.document()

    loopback = {
        name
        for name in published
        if all(str(port).startswith("127.0.0.1:") for port in document["services"][name]["ports"])
    }
    assert published - loopback == {"nats-1", "nats-2", "nats-3", "proxy"}
    assert document["networks"]["data"]["internal"] is True
    assert document["services"]["postgres"]["networks"] == ["data"]


def test_links_and_the_database_are_published_to_the_regions_alone() -> None:
    found = composed.services(over=composed.FIRST)
    private = {
        name: [port for port in service["ports"] if port.startswith("10.8.0.1:")]
        for name, service in found.items()
        if service.get("ports")
    }

    assert {name: ports for name, ports in private.items() if ports} == {
        "nats-1": ["10.8.0.1:7422:7422"],
        "nats-2": ["10.8.0.1:7423:7422"],
        "nats-3": ["10.8.0.1:7424:7422"],
        "postgres": ["10.8.0.1:5432:5432"],
    }
    assert [port for port in found["postgres"]["ports"] if port not in private["postgres"]] == []


def test_a_linked_region_makes_neither_keys_nor_a_database() -> None:
    found = composed.services(over=composed.LINKED)

    assert "postgres" not in found and "init" not in found["keys"]["command"]
    assert set(found["migrate"]["depends_on"]) == {"keys"}
    assert "data" in found["migrate"]["networks"] and "front" in found["migrate"]["networks"]
    for name in ("migrate", "coordinator-1", "coordinator-2"):
        assert "@first:5432/" in found[name]["environment"]["ARCHIPELAG_DATABASE_URL"]


def test_regions_are_told_apart_and_a_network_without_them_is_none() -> None:
    told = {
        over: {
            (one["environment"]["NATS_DOMAIN"], one["environment"]["NATS_CLUSTER"])
            for name, one in composed.services(over=over).items()
            if name.startswith("nats-")
        }
        for over in OVER
    }

    assert told == {
        "": {('""', "archipelag")},
        composed.FIRST: {("east", "archipelag")},
        composed.LINKED: {("west", "archipelag-west")},
    }
    settings = composed.services(over=composed.LINKED)["coordinator-2"]["environment"]
    read = coordinator.read(settings)
    assert (read.region, read.blobs) == ("west", "nats:east")


@pytest.mark.parametrize("over", OVER)
def test_volumes_and_services_that_are_named_exist(over: str) -> None:
    document = composed.document(over=over)
    names = set(document["services"])
    for name, service in document["services"].items():
        assert set(service.get("depends_on", {})) <= names, name
        if "networks" in service:
            assert set(service["networks"]) <= set(document["networks"]), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source.startswith((".", "/")) or source in document["volumes"], (name, source)
