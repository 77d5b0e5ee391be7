"""Sign-in by a provider's word: a small provider on loopback that signs real tokens, and lies as a test says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from archipelag_coordinator.adapters.openid import ASK_AGAIN, OpenIdProvider, check_issuer
from archipelag_coordinator.apps.api.app import create_app
from archipelag_coordinator.apps.cookies import COOKIE, JOURNEY
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.services.sessions import list_sessions
from archipelag_coordinator.testing.worlds import Scene, a_scene
from archipelag_embedded.serving import served
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

US = "http://net.test"
CLIENT, SECRET = "archipelag", "s3cret:/"
SIGNER = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
STRANGER = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})


@dataclass
class Provider:
    """What it says, and what it was asked."""

    issuer: str
    now: Callable[[], float]
    keys: list[Any] = field(default_factory=lambda: [SIGNER])
    signer: Any = field(default_factory=lambda: SIGNER)
    algorithm: str = "RS256"
    person: dict[str, Any] = field(
        default_factory=lambda: {"sub": "42", "email": "Ada@Example.org", "email_verified": True}
    )
    lies: dict[str, Any] = field(default_factory=dict)
    """Claims said instead of the true ones; None leaves one out."""
    userinfo: dict[str, Any] | None = None
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    token: Callable[[str], str] = lambda token: token

    def app(self) -> FastAPI:
        app = FastAPI()
        app.get("/.well-known/openid-configuration")(self.configuration)
        app.get("/keys")(self.jwks)
        app.post("/token")(self.exchange)
        app.get("/userinfo")(self.whoami)
        return app

    async def configuration(self) -> dict[str, Any]:
        self.asked.append("configuration")
        told = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        }
        return told | ({"userinfo_endpoint": f"{self.issuer}/userinfo"} if self.userinfo else {})

    async def jwks(self) -> dict[str, Any]:
        self.asked.append("keys")
        odd = [{"kty": "EC", "crv": "P-999", "x": "a", "y": "b"}, "nonsense", {"kty": "new"}]
        return {"keys": [*odd, *(key.as_dict(private=False) for key in self.keys)]}

    async def exchange(self, request: Request) -> Response:
        form = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        expected = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            asked is None
            or request.headers.get("authorization") != f"Basic {expected}"
            or form.get("redirect_uri") != asked["redirect_uri"]
            or challenge != asked["code_challenge"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "exp": int(self.now()) + 300,
            "iat": int(self.now()),
            "nonce": asked["nonce"],
        } | self.person
        claims = {name: v for name, v in (claims | self.lies).items() if v is not None}
        signed = jwt.encode({"alg": self.algorithm, "kid": "one"}, claims, self.signer)
        return JSONResponse({"id_token": self.token(signed), "access_token": "at"})

    async def whoami(self) -> dict[str, Any]:
        return self.userinfo or {}


@dataclass
class Net:
    """A network that knows the provider."""

    scene: Scene
    provider: Provider
    app: Any

    def browser(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=US)

    async def go(self, browser: httpx.AsyncClient, next_path: str = "/") -> str:
        """The browser is sent away, and the person says yes: where it is sent back to."""
        away = await browser.get("/openid/begin", params={"next": next_path})
        assert away.status_code == 303, away.text
        address = urlsplit(away.headers["location"])
        asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert asked["code_challenge_method"] == "S256" and asked["scope"] == "openid email"
        code = f"code-{len(self.provider.asked)}-{asked['state'][-6:]}"
        self.provider.codes[code] = asked
        return f"{asked['redirect_uri']}?code={code}&state={asked['state']}"

    async def sign_in(self, next_path: str = "/") -> httpx.Response:
        async with self.browser() as browser:
            return await browser.get(await self.go(browser, next_path))

    async def users(self) -> int:
        async with self.scene.store.begin() as tx:
            return await tx.users.count()


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    scene = await a_scene()
    listener = socket.create_server(("127.0.0.1", 0))
    issuer = f"http://127.0.0.1:{listener.getsockname()[1]}"
    provider = Provider(issuer, lambda: scene.clock.now().timestamp())
    ours = OpenIdProvider(issuer, CLIENT, SECRET, scene.clock.now)
    scene.world = replace(scene.world, identity_provider=ours, public_url=US)
    async with served(provider.app(), listener):
        yield Net(scene, provider, create_app(scene.world))
        await ours.close()


async def test_a_person_comes_back_signed_in_where_they_wanted_to_go(net: Net) -> None:
    async with net.browser() as browser:
        done = await browser.get(await net.go(browser, "/jobs?limit=5"))
        account = await browser.get("/api/v1/account")

    assert (done.status_code, done.headers["location"]) == (303, "/jobs?limit=5")
    assert account.json()["data"]["email"] == "ada@example.org"
    cookies = done.headers.get_list("set-cookie")
    assert any(c.startswith(f"{COOKIE}=as_") and "HttpOnly" in c for c in cookies)
    assert any(c.startswith(f'{JOURNEY}=""') and "Max-Age=0" in c for c in cookies)


async def test_the_provider_names_a_person_for_good_whatever_their_address(net: Net) -> None:
    await net.sign_in()
    before = await net.users()
    net.provider.person["email"] = "new@example.org"
    net.provider.person["email_verified"] = False

    again = await net.sign_in()

    assert again.status_code == 303
    assert await net.users() == before


async def test_an_address_that_is_known_is_the_same_person(net: Net) -> None:
    net.provider.person["email"] = net.scene.user.email
    before = await net.users()

    await net.sign_in()

    assert await net.users() == before
    assert len(await list_sessions(net.scene.world, net.scene.user.id)) == 1


@pytest.mark.parametrize(
    "person",
    [
        {"email_verified": False},
        {"email_verified": None},
        {"email_verified": 1.5},
        {"email_verified": "false"},
        {"email": None},
        {"email": ""},
        {"email": "ada@example.org\nBcc: x@y.z"},
        {"email": ["ada@example.org"]},
    ],
)
async def test_an_address_that_nobody_verified_opens_no_account(
    net: Net, person: dict[str, Any]
) -> None:
    net.provider.person["email"] = net.scene.user.email
    net.provider.person |= person
    before = await net.users()

    refused = await net.sign_in()

    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "identity_refused"
    assert await net.users() == before
    assert await list_sessions(net.scene.world, net.scene.user.id) == []


@pytest.mark.parametrize(
    "lies",
    [
        {"nonce": "al_" + "x" * 43},
        {"nonce": None},
        {"aud": "somebody else"},
        {"aud": None},
        {"aud": ["somebody else", "others"]},
        {"aud": [CLIENT, "somebody else"]},
        {"aud": [CLIENT, "somebody else"], "azp": "somebody else"},
        {"azp": "somebody else"},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "9999999999"},
        {"iat": 9_999_999_999},
        {"sub": None},
        {"sub": ""},
        {"sub": 42},
        {"sub": "x" * 256},
    ],
    ids=str,
)
async def test_a_token_for_somebody_else_or_another_time_is_refused(
    net: Net, lies: dict[str, Any]
) -> None:
    net.provider.lies = lies
    before = await net.users()

    refused = await net.sign_in()

    assert refused.status_code == 403, refused.text
    assert "set-cookie" not in refused.headers
    assert await net.users() == before


async def test_a_token_to_several_that_we_asked_for_is_taken(net: Net) -> None:
    net.provider.lies = {"aud": [CLIENT, "others"], "azp": CLIENT}

    assert (await net.sign_in()).status_code == 303


def unsigned(token: str) -> str:
    """The same claims with `alg: none` and no signature."""
    header = base64.urlsafe_b64encode(b'{"alg":"none","kid":"one"}').decode().rstrip("=")
    return f"{header}.{token.split('.')[1]}."


def changed(token: str) -> str:
    """Another person under the same signature."""
    head, body, tag = token.split(".")
    told = base64.urlsafe_b64decode(body + "==").replace(b'"42"', b'"43"')
    return f"{head}.{base64.urlsafe_b64encode(told).decode().rstrip('=')}.{tag}"


@pytest.mark.parametrize(
    "token", [unsigned, changed, lambda _: "", lambda _: "x.y.z", lambda t: t[:-8]]
)
async def test_what_the_provider_did_not_sign_is_refused(
    net: Net, token: Callable[[str], str]
) -> None:
    net.provider.token = token

    assert (await net.sign_in()).status_code == 403


async def test_a_strangers_key_under_a_known_name_is_refused(net: Net) -> None:
    net.provider.signer = STRANGER

    assert (await net.sign_in()).status_code == 403


async def test_a_public_key_is_no_shared_secret(net: Net) -> None:
    def by_public_key(token: str) -> str:
        header = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').decode().rstrip("=")
        said = f"{header}.{token.split('.')[1]}"
        tag = hmac.digest(SIGNER.as_pem(private=False), said.encode(), "sha256")
        return f"{said}.{base64.urlsafe_b64encode(tag).decode().rstrip('=')}"

    net.provider.token = by_public_key

    assert (await net.sign_in()).status_code == 403


async def test_new_keys_are_found_and_old_ones_forgotten(net: Net) -> None:
    await net.sign_in()
    new = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
    net.provider.keys, net.provider.signer, net.provider.algorithm = [new], new, "ES256"
    net.scene.clock.advance(ASK_AGAIN.total_seconds())

    fresh = await net.sign_in()
    net.provider.signer, net.provider.algorithm = SIGNER, "RS256"
    stale = await net.sign_in()

    assert (fresh.status_code, stale.status_code) == (303, 403)


async def test_forged_tokens_do_not_make_us_ask_for_keys_each_time(net: Net) -> None:
    net.provider.signer = STRANGER

    for _ in range(5):
        await net.sign_in()

    assert net.provider.asked.count("keys") == 1
    assert net.provider.asked.count("configuration") == 1


async def test_an_answer_is_for_the_browser_that_asked(net: Net) -> None:
    async with net.browser() as victim, net.browser() as other:
        back = await net.go(victim)
        await net.go(other)
        stolen = await other.get(back)
    async with net.browser() as nobody:
        without = await nobody.get(back)

    assert (stolen.status_code, without.status_code) == (403, 403)
    assert back.split("code=")[1].split("&")[0] in net.provider.codes


async def test_an_answer_is_good_once_and_in_time(net: Net) -> None:
    async with net.browser() as browser:
        back = await net.go(browser)
        journey = browser.cookies[JOURNEY]
        first = await browser.get(back)
        again = await browser.get(back, headers={"Cookie": f"{JOURNEY}={journey}"})
        late = await net.go(browser)
        net.scene.clock.advance(601)
        too_late = await browser.get(late)

    assert [a.status_code for a in (first, again, too_late)] == [303, 403, 403]


async def test_who_says_no_at_the_provider_comes_back_with_nothing(net: Net) -> None:
    async with net.browser() as browser:
        back = await net.go(browser)
        refused = await browser.get(back.replace("code=", "error="))

    assert refused.status_code == 403


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example"])
async def test_nobody_is_led_elsewhere(net: Net, path: str) -> None:
    async with net.browser() as browser:
        refused = await browser.get("/openid/begin", params={"next": path})

    assert refused.status_code == 422


async def test_other_sites_do_not_send_people_away(net: Net) -> None:
    async with net.browser() as browser:
        refused = await browser.get("/openid/begin", headers={"Sec-Fetch-Site": "cross-site"})

    assert refused.status_code == 403


async def test_an_address_may_come_from_the_providers_other_door(net: Net) -> None:
    net.provider.person = {"sub": "42"}
    net.provider.userinfo = {"sub": "43", "email": "eve@example.org", "email_verified": True}
    another = await net.sign_in()
    net.provider.userinfo |= {"sub": "42"}
    same = await net.sign_in()

    assert (another.status_code, same.status_code) == (403, 303)


async def test_a_provider_that_is_away_is_a_503(net: Net) -> None:
    away = OpenIdProvider("http://127.0.0.1:9", CLIENT, SECRET, net.scene.clock.now)
    app = create_app(replace(net.scene.world, identity_provider=away))
    async with replace(net, app=app).browser() as browser:
        refused = await browser.get("/openid/begin")
    await away.close()

    assert refused.status_code == 503 and "retry-after" in refused.headers


async def test_who_describes_another_issuer_is_not_believed(net: Net) -> None:
    net.provider.issuer = "https://evil.example"
    async with net.browser() as browser:
        refused = await browser.get("/openid/begin")

    assert refused.status_code == 503


async def test_the_suspended_and_the_uninvited_stay_out(net: Net) -> None:
    net.provider.person["email"] = net.scene.user.email
    await net.sign_in()
    async with net.scene.store.begin() as tx:
        await tx.users.save(replace(net.scene.user, suspended=True))
    suspended = await net.sign_in()
    closed = replace(net.scene.world, policy=Policy(sign_up_open=False))
    net.provider.person = {"sub": "7", "email": "x@example.org", "email_verified": True}
    uninvited = await replace(net, app=create_app(closed)).sign_in()

    assert (suspended.status_code, uninvited.status_code) == (403, 403)


async def test_two_tabs_that_come_back_at_once_are_one_person(net: Net) -> None:
    before = await net.users()

    done = await asyncio.gather(*(net.sign_in() for _ in range(4)))

    assert [one.status_code for one in done] == [303] * 4
    assert await net.users() == before + 1


async def test_a_network_without_a_provider_says_so() -> None:
    scene = await a_scene()
    transport = httpx.ASGITransport(create_app(scene.world))
    async with httpx.AsyncClient(transport=transport, base_url=US) as browser:
        refused = await browser.get("/openid/begin")

    assert refused.status_code == 400


@pytest.mark.parametrize(
    "issuer", ["https://id.example/realm/", "http://127.0.0.1:9", "http://localhost"]
)
def test_issuers_that_may_be(issuer: str) -> None:
    assert check_issuer(issuer) == issuer


@pytest.mark.parametrize(
    "issuer", ["http://id.example", "id.example", "https://", "https://id.example?x", "ftp://x"]
)
def test_issuers_that_may_not_be(issuer: str) -> None:
    with pytest.raises(ValueError, match="https"):
        check_issuer(issuer)
