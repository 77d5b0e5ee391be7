"""Addresses, ways on, and the letter: what strangers may write into them."""

from __future__ import annotations

import pytest
from archipelag_coordinator.domain.sign_in import (
    hash_link,
    letter,
    local_path,
    neighbourhood,
    normal_email,
)
from archipelag_coordinator.errors import InvalidInput, LinkNotValid


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("ada@example.org", "ada@example.org"),
        (" Ada.Lovelace+net@Example.ORG ", "ada.lovelace+net@example.org"),
        ("o'neil@xn--bcher-kva.example", "o'neil@xn--bcher-kva.example"),
        ("a" * 64 + "@example.org", "a" * 64 + "@example.org"),
    ],
)
def test_addresses_are_kept_in_one_form(given: str, kept: str) -> None:
    assert normal_email(given) == kept


@pytest.mark.parametrize(
    "given",
    [
        "",
        "ada",
        "@example.org",
        "ada@",
        "ada@localhost",
        "ada@exam_ple.org",
        "ada@-x.org",
        "ada@example..org",
        "ada@example.org.",
        ".ada@example.org",
        "a..b@example.org",
        "a b@example.org",
        "ada@example.org\r\nBcc: all@example.org",
        "ada\n@example.org",
        "ada@example.org\n",
        "ada@example.org, eve@example.org",
        "ada@example.org;eve@example.org",
        '"ada"@example.org',
        "ada <ada@example.org>",
        "ada@[127.0.0.1]",
        "ada@example.org\0",
        "äda@example.org",
        "ada@exämple.org",
        "a" * 65 + "@example.org",
        "a@" + "b" * 63 + ("." + "c" * 60) * 4 + ".org",
    ],
)
def test_what_is_no_plain_address_is_refused(given: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        normal_email(given)

    assert list(refused.value.errors) == ["email"]


@pytest.mark.parametrize("path", ["/", "/jobs", "/jobs?limit=5&x=%2F", "/a/b#c", "/a//b"])
def test_paths_of_ours_lead_on(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "jobs",
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/a\\b",
        "/\t/evil.example",
        "/\n",
        "javascript:alert(1)",
        "/a b",
        "/é",
        "/" + "a" * 500,
    ],
)
def test_what_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        local_path(path)


@pytest.mark.parametrize(
    "secret", ["", "al_", "ak_" + "a" * 43, "as_" + "a" * 43, "al_" + "a" * 44, "al_../" + "a" * 40]
)
def test_what_is_no_links_secret_is_unknown(secret: str) -> None:
    with pytest.raises(LinkNotValid) as refused:
        hash_link(secret)

    assert refused.value.reason == "is unknown"


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("x" * 900, "x" * 64),
    ],
)
def test_a_network_of_ipv6_counts_as_one(client: str, counted: str) -> None:
    assert neighbourhood(client) == counted


def test_the_letter_shows_the_link_whole_in_both_forms() -> None:
    subject, text, html = letter('https://x.example/sign-in/al_1?a&"<b>', 15)

    assert "\n" not in subject
    assert 'https://x.example/sign-in/al_1?a&"<b>' in text and "15 minutes" in text
    assert 'href="https://x.example/sign-in/al_1?a&amp;&quot;&lt;b&gt;"' in html
    assert "<b>" not in html
