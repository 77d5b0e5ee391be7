"""Signing in by a mailed link: once, in time, the same answer for everybody."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.session import hash_session
from archipelag_coordinator.domain.user import Role
from archipelag_coordinator.errors import (
    InvalidInput,
    LinkNotValid,
    NotFound,
    NotPermitted,
    RateLimited,
    Unsupported,
)
from archipelag_coordinator.services.read import list_keys
from archipelag_coordinator.services.sessions import list_sessions, sign_out, sign_out_everywhere
from archipelag_coordinator.services.sign_in import ask_for_link, look_at_link, sign_in
from archipelag_coordinator.testing.builders import a_user
from archipelag_coordinator.testing.fakes import FakeMail
from archipelag_coordinator.testing.memory_store import MemoryStore
from archipelag_coordinator.testing.worlds import Scene, a_scene

HERE = "192.0.2.1"


async def asked(scene: Scene, email: str = "ada@example.org", next_path: str = "/") -> str:
    """The secret of the link that was mailed."""
    await ask_for_link(scene.world, email, next_path, client=HERE)
    return scene.mail.link


async def an_empty_scene(**policy: object) -> Scene:
    """A network that nobody has come to yet."""
    scene = await a_scene(policy=Policy(**policy))  # type: ignore[arg-type]
    store = MemoryStore(scene.clock)
    scene.store, scene.world = store, replace(scene.world, store=store, door=store)
    return scene


async def test_a_link_signs_its_reader_in_and_leads_on() -> None:
    scene = await a_scene()
    scene.world = replace(scene.world, public_url="https://net.example")

    link = await asked(scene, " Ada@Example.org", "/jobs")
    seen = await look_at_link(scene.world, link)
    done = await sign_in(scene.world, link, "A browser")

    (mail,) = scene.mail.sent
    assert mail.to == "ada@example.org"
    assert f"https://net.example/sign-in/{link}\n" in mail.text
    assert (seen.email, seen.used_at) == ("ada@example.org", None)
    assert (done.user.email, done.user.role, done.fresh) == ("ada@example.org", Role.USER, True)
    assert done.next_path == "/jobs"
    admission = await scene.store.admit(hash_session(done.secret), scene.clock.now(), 10)
    assert admission is not None and admission.user == done.user
    assert admission.key.user_agent == "A browser"
    assert done.secret not in repr(done.session)


async def test_a_link_is_good_once() -> None:
    scene = await a_scene()
    link = await asked(scene)
    await sign_in(scene.world, link, "")

    for verb in (sign_in(scene.world, link, ""), look_at_link(scene.world, link)):
        with pytest.raises(LinkNotValid) as refused:
            await verb
        assert refused.value.reason == "was used already"


async def test_two_at_once_give_one_session_and_one_user() -> None:
    scene = await a_scene()
    link = await asked(scene)

    outcomes = await asyncio.gather(
        *(sign_in(scene.world, link, "") for _ in range(5)), return_exceptions=True
    )

    done = [one for one in outcomes if not isinstance(one, BaseException)]
    assert len(done) == 1
    assert all(isinstance(o, LinkNotValid) for o in outcomes if isinstance(o, BaseException))
    assert len(await list_sessions(scene.world, done[0].user.id)) == 1


async def test_a_link_is_good_for_a_quarter_of_an_hour() -> None:
    scene = await a_scene()
    in_time, late = await asked(scene), await asked(scene)

    scene.clock.advance(15 * 60 - 1)
    await sign_in(scene.world, in_time, "")
    scene.clock.advance(1)

    for verb in (sign_in(scene.world, late, ""), look_at_link(scene.world, late)):
        with pytest.raises(LinkNotValid) as refused:
            await verb
        assert refused.value.reason == "has expired"


async def test_what_was_never_mailed_is_unknown() -> None:
    scene = await a_scene()

    for verb in (look_at_link(scene.world, "al_" + "x" * 43), sign_in(scene.world, "x", "")):
        with pytest.raises(LinkNotValid) as refused:
            await verb
        assert refused.value.reason == "is unknown"


async def test_whoever_comes_back_is_the_same_user_with_another_session() -> None:
    scene = await a_scene()

    first = await sign_in(scene.world, await asked(scene), "")
    second = await sign_in(scene.world, await asked(scene, "ADA@example.org"), "")

    assert second.user == first.user and not second.fresh
    assert second.secret != first.secret
    assert len(await list_sessions(scene.world, first.user.id)) == 2


async def test_the_first_user_of_an_empty_network_is_its_administrator() -> None:
    scene = await an_empty_scene()
    links = [await asked(scene, f"{name}@example.org") for name in ("ada", "bob", "eve")]

    done = await asyncio.gather(*(sign_in(scene.world, link, "") for link in links))

    roles = sorted(one.user.role.value for one in done)
    assert roles == ["admin", "user", "user"]


async def test_a_new_user_is_given_credit_once() -> None:
    scene = await a_scene(policy=Policy(sign_up_ucredits=Ucredits(500)))

    done = await sign_in(scene.world, await asked(scene), "")
    await sign_in(scene.world, await asked(scene), "")

    assert await scene.balance(done.user) == 500


async def test_a_closed_network_mails_only_those_it_knows_and_says_nothing_of_it() -> None:
    scene = await a_scene(policy=Policy(sign_up_open=False))

    await ask_for_link(scene.world, "stranger@example.org", "/", client=HERE)
    assert scene.mail.sent == []
    done = await sign_in(scene.world, await asked(scene, scene.user.email), "")

    assert done.user == scene.user


async def test_a_link_from_before_sign_up_was_closed_makes_no_user() -> None:
    scene = await a_scene()
    link = await asked(scene)
    scene.world = replace(scene.world, policy=Policy(sign_up_open=False))

    with pytest.raises(NotPermitted):
        await sign_in(scene.world, link, "")

    async with scene.store.begin() as tx:
        assert await tx.users.by_email("ada@example.org") is None


async def test_the_suspended_get_no_mail_and_no_session() -> None:
    scene = await a_scene()
    link = await asked(scene, scene.user.email)
    async with scene.store.begin() as tx:
        await tx.users.save(replace(scene.user, suspended=True))

    await ask_for_link(scene.world, scene.user.email, "/", client=HERE)
    with pytest.raises(NotPermitted):
        await sign_in(scene.world, link, "")

    assert len(scene.mail.sent) == 1
    assert await list_sessions(scene.world, scene.user.id) == []


async def test_mails_to_one_address_are_limited_for_known_and_unknown_alike() -> None:
    scene = await a_scene(policy=Policy(sign_in_mails_per_minute=2))

    for email in (scene.user.email, "stranger@example.org"):
        for number in range(2):
            await ask_for_link(scene.world, email, "/", client=f"192.0.2.{number}")
        with pytest.raises(RateLimited) as refused:
            await ask_for_link(scene.world, email.upper(), "/", client="192.0.2.9")
        assert refused.value.retry_after_s == 30
    assert len(scene.mail.sent) == 4


async def test_mails_asked_for_from_one_place_are_limited() -> None:
    scene = await a_scene(policy=Policy(sign_in_mails_per_minute=2))
    clients = [f"2001:db8::{number}" for number in range(3)]

    for number, client in enumerate(clients[:2]):
        await ask_for_link(scene.world, f"a{number}@example.org", "/", client=client)
    with pytest.raises(RateLimited):
        await ask_for_link(scene.world, "a3@example.org", "/", client=clients[2])
    scene.clock.advance(30)
    await ask_for_link(scene.world, "a3@example.org", "/", client=clients[2])

    assert len(scene.mail.sent) == 3


@pytest.mark.parametrize(
    ("email", "next_path"),
    [("ada@example.org\nBcc: x@y.z", "/"), ("ada", "/"), ("ada@example.org", "//evil.example")],
)
async def test_bad_input_mails_nothing(email: str, next_path: str) -> None:
    scene = await a_scene()

    with pytest.raises(InvalidInput):
        await ask_for_link(scene.world, email, next_path, client=HERE)

    assert scene.mail.sent == []


async def test_a_network_without_mail_says_so_to_everybody() -> None:
    scene = await a_scene()
    world = replace(scene.world, mail=None)

    for email in (scene.user.email, "stranger@example.org"):
        with pytest.raises(Unsupported):
            await ask_for_link(world, email, "/", client=HERE)


async def test_signing_out_is_at_once_and_only_ones_own() -> None:
    scene = await a_scene()
    here = await sign_in(scene.world, await asked(scene), "here")
    there = await sign_in(scene.world, await asked(scene), "there")

    with pytest.raises(NotFound):
        await sign_out(scene.world, scene.user.id, here.session.id)
    with pytest.raises(NotFound):
        await sign_out(scene.world, scene.user.id, scene.key.id)
    out = await sign_out(scene.world, here.user.id, here.session.id)

    assert out.revoked_at == scene.clock.now()
    (left,) = await list_sessions(scene.world, here.user.id)
    assert left.id == there.session.id
    assert await sign_out_everywhere(scene.world, here.user) == 1
    assert await list_sessions(scene.world, here.user.id) == []


async def test_sessions_are_no_keys() -> None:
    scene = await a_scene()
    done = await sign_in(scene.world, await asked(scene, scene.user.email), "")

    assert [key.id for key in await list_keys(scene.world, scene.user.id)] == [scene.key.id]
    assert [one.id for one in await list_sessions(scene.world, scene.user.id)] == [done.session.id]


async def test_a_mail_server_that_fails_takes_nothing_back() -> None:
    scene = await a_scene()

    class Failing(FakeMail):
        async def send(self, to: str, subject: str, text: str, html: str) -> None:
            await super().send(to, subject, text, html)
            raise ConnectionError

    failing = Failing()
    with pytest.raises(ConnectionError):
        await ask_for_link(replace(scene.world, mail=failing), a_user().email, "/", client=HERE)

    assert (await look_at_link(scene.world, failing.link)).used_at is None
