"""Settings: read once, refused as a whole with a sentence for each that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.config import read
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.pricing import split
from archipelag_coordinator.errors import InvalidInput

ENOUGH = {
    "ARCHIPELAG_DATABASE_URL": "postgresql://u:secret@db/x",
    "ARCHIPELAG_NATS_URL": "nats://a:1,nats://b:2",
    "ARCHIPELAG_STATE_DIR": "/var/lib/x",
}


def test_three_are_enough_and_no_secret_is_shown() -> None:
    settings = read(ENOUGH)

    assert (settings.http_port, settings.grpc_port) == (8420, 8421)
    assert settings.state_dir == Path("/var/lib/x")
    assert "secret" not in settings.describe() + repr(settings)


def test_what_is_given_is_taken() -> None:
    settings = read(
        ENOUGH
        | {
            "ARCHIPELAG_HTTP_PORT": "0",
            "ARCHIPELAG_BROKER_PUBLIC_URLS": "nats://x:1, nats://y:2,",
            "ARCHIPELAG_NATS_REPLICAS": "3",
            "ARCHIPELAG_LOG_LEVEL": "debug",
            "ARCHIPELAG_POLICY_LEASE_S": "12.5",
            "ARCHIPELAG_POLICY_ATTEMPTS_MAX": "5",
            "ARCHIPELAG_POLICY_ISLANDS_NEED_APPROVAL": "yes",
        }
    )

    assert settings.http_port == 0
    assert settings.broker_public_urls == ("nats://x:1", "nats://y:2")
    assert settings.nats_replicas == 3
    assert settings.log_level == "DEBUG"
    assert settings.policy.lease_s == 12.5
    assert settings.policy.attempts_max == 5
    assert settings.policy.islands_need_approval is True


def test_everything_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        read({})

    assert sorted(refused.value.errors) == sorted(ENOUGH)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PORT", "eighty"),
        ("HTTP_PORT", "65536"),
        ("GRPC_PORT", "-1"),
        ("NATS_REPLICAS", "2"),
        ("NATS_REPLICAS", "three"),
        ("DATABASE_POOL_MAX", "0"),
        ("LOG_LEVEL", "loud"),
        ("REGISTRY", "https://registry.example"),
        ("POLICY_CATALOGUE_RENEW_S", "999999999"),
        ("POLICY_LEASE_S", "soon"),
        ("POLICY_ATTEMPTS_MAX", "3.5"),
        ("POLICY_ISLANDS_NEED_APPROVAL", "maybe"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(ENOUGH | {f"ARCHIPELAG_{name}": value})

    assert list(refused.value.errors) == [f"ARCHIPELAG_{name}"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("INSURED_OF_EARNED_BP", "1765", "must be 0 to 1764: with more, failing on purpose"),
        ("INSURED_OF_EARNED_BP", "-1", "must be 0 to 1764"),
        ("INSURED_DAY_UCREDITS", "-1", "must be 0 or more"),
    ],
)
def test_limits_that_would_let_the_insurance_be_drained_are_refused(
    name: str, value: str, said: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(ENOUGH | {f"ARCHIPELAG_POLICY_{name}": value})

    (errors,) = refused.value.errors.values()
    assert said in errors[0]


def test_who_trades_with_themselves_loses_more_than_the_insurance_then_allows() -> None:
    policy = Policy()
    charged = 10**9

    parts = split(Ucredits(charged), policy.shares)

    allowed = parts.islands * policy.insured_of_earned_bp // 10_000
    assert allowed < parts.fees + parts.insurance


def test_an_object_store_needs_its_key_and_shows_no_secret() -> None:
    store = {"ARCHIPELAG_BLOBS": "s3://files"}
    keys = {"ARCHIPELAG_BLOBS_KEY_ID": "AKID", "ARCHIPELAG_BLOBS_SECRET": "hush"}
    with pytest.raises(InvalidInput) as refused:
        read(ENOUGH | store)

    settings = read(ENOUGH | store | keys)

    assert sorted(refused.value.errors) == sorted(keys)
    assert settings.blobs == "s3://files" and read(ENOUGH).blobs == "nats"
    assert "hush" not in settings.describe() + repr(settings)


def test_files_of_several_regions_are_kept_by_one_of_them() -> None:
    east = ENOUGH | {"ARCHIPELAG_REGION": "east"}
    kept = [read(east | {"ARCHIPELAG_BLOBS": f"nats:{one}"}).keeps_blobs for one in ("east", "us")]

    with pytest.raises(InvalidInput, match="by the one whose broker keeps files for all"):
        read(east)
    with pytest.raises(InvalidInput, match="ARCHIPELAG_REGION"):
        read(ENOUGH | {"ARCHIPELAG_BLOBS": "nats:east"})
    assert (kept, read(ENOUGH).keeps_blobs) == ([True, False], True)


@pytest.mark.parametrize("wrong", ["East", "-east", "a" * 33, "east.1", "*", "ea st"])
def test_a_region_is_one_plain_word(wrong: str) -> None:
    """It is a part of subjects and of the broker's configuration."""
    with pytest.raises(InvalidInput, match="small letters"):
        read(ENOUGH | {"ARCHIPELAG_REGION": wrong, "ARCHIPELAG_BLOBS": "nats:east"})


@pytest.mark.parametrize("wrong", ["memory", "file:///var", "s3:files", "nats:", "nats:A.b"])
def test_a_store_of_bytes_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidInput, match="nats, nats:REGION or s3://"):
        read(ENOUGH | {"ARCHIPELAG_BLOBS": wrong})


def test_people_reach_the_http_door_itself_where_nothing_else_is_said() -> None:
    hosts = {"127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}

    for host, shown in hosts.items():
        settings = read(ENOUGH | {"ARCHIPELAG_HTTP_HOST": host, "ARCHIPELAG_HTTP_PORT": "99"})
        assert settings.people_url == f"http://{shown}:99"
    given = read(ENOUGH | {"ARCHIPELAG_PUBLIC_URL": "https://net.example/"})
    assert given.people_url == "https://net.example"


@pytest.mark.parametrize(
    "url",
    [
        "net.example",
        "ftp://x",
        "https://x/y",
        "https://X",
        "https://u:p@x",
        "https://x?y",
        "https://x y",
    ],
)
def test_a_public_url_is_one_of_a_whole_host(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(ENOUGH | {"ARCHIPELAG_PUBLIC_URL": url})

    assert list(refused.value.errors) == ["ARCHIPELAG_PUBLIC_URL"]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"SMTP_URL": "smtps://m.example"}, ["MAIL_FROM"]),
        (
            {"SMTP_URL": "smtps://m.example", "MAIL_FROM": "a@b.org", "LOCAL_MAILBOX": "true"},
            ["LOCAL_MAILBOX"],
        ),
        ({"LOCAL_MAILBOX": "perhaps"}, ["LOCAL_MAILBOX"]),
        (
            {"LOCAL_MAILBOX": "yes", "PUBLIC_URL": "https://localhost.evil.example"},
            ["LOCAL_MAILBOX"],
        ),
        ({"OIDC_ISSUER": "https://id.example"}, ["OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"]),
        ({"OIDC_CLIENT_SECRET": "s"}, ["OIDC_CLIENT_ID", "OIDC_ISSUER"]),
    ],
)
def test_half_of_a_way_to_sign_in_is_refused(given: dict[str, str], wrong: list[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(ENOUGH | {f"ARCHIPELAG_{name}": value for name, value in given.items()})

    assert sorted(refused.value.errors) == [f"ARCHIPELAG_{name}" for name in wrong]


def test_passwords_of_mail_and_provider_are_not_shown() -> None:
    settings = read(
        ENOUGH
        | {
            "ARCHIPELAG_SMTP_URL": "smtps://u:hidden@m.example",
            "ARCHIPELAG_MAIL_FROM": "a@b.org",
            "ARCHIPELAG_OIDC_ISSUER": "https://id.example",
            "ARCHIPELAG_OIDC_CLIENT_ID": "x",
            "ARCHIPELAG_OIDC_CLIENT_SECRET": "hidden",
        }
    )

    assert "hidden" not in settings.describe() + repr(settings)


@pytest.mark.parametrize(
    "url", ["", "http://127.0.0.1:8420", "http://localhost", "http://[::1]:99/"]
)
def test_a_mailbox_is_for_a_network_on_ones_own_machine(url: str) -> None:
    given = {"ARCHIPELAG_LOCAL_MAILBOX": "true", "ARCHIPELAG_PUBLIC_URL": url}

    assert read(ENOUGH | given).local_mailbox


def test_what_watches_is_set_by_name() -> None:
    settings = read(
        ENOUGH
        | {
            "ARCHIPELAG_LOG_FORMAT": "json",
            "ARCHIPELAG_METRICS_TOKEN": "sixteen-letters-x",
            "ARCHIPELAG_NATS_MONITOR_URLS": "http://a:8222, http://b:8222,",
            "ARCHIPELAG_TRACES_URL": "https://collector:4318/v1/traces",
            "ARCHIPELAG_TRACES_SAMPLED": "0.25",
        }
    )

    assert settings.nats_monitor_urls == ("http://a:8222", "http://b:8222")
    assert settings.traces_sampled == 0.25
    assert "sixteen" not in repr(settings) + settings.describe()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("LOG_FORMAT", "xml", "must be text or json"),
        ("METRICS_TOKEN", "short", "must be 16 or more"),
        ("METRICS_TOKEN", "with a space in it, long", "must be 16 or more"),
        ("NATS_MONITOR_URLS", "a:8222", "must be http://host:port"),
        ("TRACES_URL", "http://me:secret@collector", "without a user"),
        ("TRACES_URL", "grpc://collector:4317", "must be http://host:port"),
        ("TRACES_SAMPLED", "2", "must be a number, 0 to 1"),
        ("TRACES_SAMPLED", "nan", "must be a number, 0 to 1"),
    ],
)
def test_a_wrong_way_of_watching_is_refused(name: str, value: str, told: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(ENOUGH | {f"ARCHIPELAG_{name}": value})

    assert told in refused.value.errors[f"ARCHIPELAG_{name}"][0]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"WORKERS": "0"}, "WORKERS"),
        ({"WORKERS": "65"}, "WORKERS"),
        ({"WORKERS": "many"}, "WORKERS"),
        ({"WORKERS": "2", "HTTP_PORT": "0"}, "HTTP_PORT"),
        ({"WORKERS": "2", "GRPC_PORT": "0"}, "GRPC_PORT"),
        ({"WORKERS": "3", "WORKER_PORT": "65534"}, "WORKER_PORT"),
    ],
)
def test_workers_that_could_not_stand_are_refused(given: dict[str, str], wrong: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(ENOUGH | {f"ARCHIPELAG_{name}": value for name, value in given.items()})

    assert list(refused.value.errors) == [f"ARCHIPELAG_{wrong}"]


def test_which_worker_it_is_nobody_says_in_the_environment() -> None:
    settings = read(ENOUGH | {"ARCHIPELAG_WORKERS": "2", "ARCHIPELAG_WORKER": "7"})

    assert (settings.workers, settings.worker) == (2, 0)
