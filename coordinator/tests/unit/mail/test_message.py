"""Messages as they go out: what may stand in a header, and who a sender is."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import SMTP

import pytest
from archipelag_coordinator.adapters.mail.message import compose, sender_of
from archipelag_coordinator.adapters.mail.outbox import Undeliverable
from archipelag_coordinator.testing.fakes import START

SENDER = sender_of("Archipelag <net@example.org>")


def test_both_forms_are_in_one_message_with_the_headers_of_a_machine() -> None:
    message = compose(SENDER, "ada@example.org", "Sign in – now", "text ✓\n", "<p>é</p>", START)
    read = message_from_bytes(message.as_bytes(), policy=SMTP)

    assert (read["From"], read["To"]) == ("Archipelag <net@example.org>", "ada@example.org")
    assert read["Subject"] == "Sign in – now"
    assert read["Auto-Submitted"] == "auto-generated"
    assert read["Message-ID"].endswith("@example.org>")
    assert read["Date"].datetime == START
    assert [part.get_content().strip() for part in read.iter_parts()] == ["text ✓", "<p>é</p>"]


@pytest.mark.parametrize(
    "to",
    [
        "ada@example.org\r\nBcc: all@example.org",
        "ada@example.org\nX: y",
        "ada@example.org, eve@example.org",
        "ada@example.org\0",
        "",
        "@",
        "ada@",
    ],
)
def test_an_address_that_breaks_out_is_no_address(to: str) -> None:
    with pytest.raises(Undeliverable):
        compose(SENDER, to, "Hello", "text", "html", START)


def test_a_subject_that_breaks_out_is_refused() -> None:
    with pytest.raises(Undeliverable):
        compose(SENDER, "ada@example.org", "Hello\r\nBcc: all@example.org", "text", "html", START)


@pytest.mark.parametrize("text", ["net@example.org", '"The, net" <net@example.org>'])
def test_a_sender_has_one_address(text: str) -> None:
    assert sender_of(text).addr_spec == "net@example.org"


@pytest.mark.parametrize(
    "text",
    ["", "net", "<>", "a@example.org, b@example.org", "net@example.org\nBcc: x@y.z", "Net <net>"],
)
def test_what_is_no_sender_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an address"):
        sender_of(text)
