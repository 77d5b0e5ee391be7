"""The pages over a network in memory that has something of everything, and browsers that look at them."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx
from archipelag_contracts.ids import Epoch, Position
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.apps.cookies import COOKIE
from archipelag_coordinator.apps.web.app import create_pages
from archipelag_coordinator.apps.web.settings import PagesSettings
from archipelag_coordinator.domain.attempt import Attempt, AttemptStatus, Cause
from archipelag_coordinator.domain.cargo import CargoStatus
from archipelag_coordinator.domain.island import Island, IslandStatus
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.ledger import Pay, PayKind, Transfer, owner_account, user_account
from archipelag_coordinator.domain.placement import Placement, Verdict
from archipelag_coordinator.domain.review import CHECKS, Check
from archipelag_coordinator.domain.user import Role, User
from archipelag_coordinator.services.ports_of_people import Letter
from archipelag_coordinator.testing.builders import (
    a_grant,
    a_job,
    a_key,
    a_secret,
    a_session,
    a_submission,
    a_user,
    an_attempt,
    an_offer,
)
from archipelag_coordinator.testing.check_conversations import a_conversation, a_message
from archipelag_coordinator.testing.fakes import START
from archipelag_coordinator.testing.worlds import Scene, a_scene
from starlette.types import ASGIApp

BASE = "http://127.0.0.1:8420"
TOKEN = re.compile(r'name="token" value="([^"]+)"')
ANSWER = (
    "The sky is blue because air scatters short waves of light more than long ones.\n\n"
    "At sunset the light comes a longer way, and what is left of it is red."
)
HOSTILE = "\"><script>alert('h')</script><img src=x onerror=alert(1)>{{7*1411}}"


@dataclass
class Box:
    """A mailbox that holds what a test puts in."""

    letters: list[Letter] = field(default_factory=list)

    async def newest(self, limit: int) -> list[Letter]:
        return self.letters[:limit]


@dataclass
class House:
    """The pages over a scene, with one person of each role."""

    scene: Scene
    app: ASGIApp
    box: Box
    ada: User
    operator: User
    admin: User
    stranger: User
    secrets: dict[str, str]
    jobs: dict[str, Job] = field(default_factory=dict)
    islands: dict[str, Island] = field(default_factory=dict)
    cargos: dict[str, int] = field(default_factory=dict)
    talk: str = ""
    """Ada's conversation."""

    def browser(self, who: str | None = None, **headers: str) -> httpx.AsyncClient:
        """Of ada, operator, admin, stranger, or of nobody."""
        cookies = {COOKIE: self.secrets[who]} if who else {}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False),
            base_url=BASE,
            cookies=cookies,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    async def post(
        self, who: str | None, path: str, page: str = "/settings", **form: str
    ) -> httpx.Response:
        """As a person does: loads a page, and sends the form with the token that stands in it."""
        async with self.browser(who) as http:
            token = token_in((await http.get(page)).text)
            return await http.post(path, data={"token": token} | form)


def token_in(text: str) -> str:
    found = TOKEN.search(text)
    assert found, text[:500]
    return found[1]


async def a_house(*, mailbox: bool = True, **world: Any) -> House:
    """Empty but for its people."""
    scene = await a_scene()
    box = Box()
    scene.world = replace(
        scene.world, public_url=BASE, mailbox=box if mailbox else None, version="1.2.3", **world
    )
    people = {
        "ada": scene.user,
        "operator": a_user(role=Role.OPERATOR, email="oskar@example.org"),
        "admin": a_user(role=Role.ADMIN, email="adele@example.org"),
        "stranger": a_user(email="stranger@example.org"),
    }
    secrets = {name: f"as_{name:s<43}" for name in people}
    async with scene.store.begin() as tx:
        for name, user in people.items():
            if name != "ada":
                await tx.users.add(user)
            agent = "Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0"
            await tx.keys.add(a_session(user, secret=secrets[name], user_agent=agent))
    new_tokens = iter(range(10_000))
    settings = PagesSettings(new_token=lambda: f"form-secret-{next(new_tokens):012d}")
    app = create_pages(scene.world, settings)
    return House(
        scene,
        app,
        box,
        people["ada"],
        people["operator"],
        people["admin"],
        people["stranger"],
        secrets,
    )


async def a_full_house(name: str = "", **changes: Any) -> House:
    """Something of everything; `name` instead of every text that a stranger may choose."""
    house = await a_house(**changes)
    await _islands(house, name)
    await _jobs(house, name)
    await _money(house)
    await _earnings(house)
    await _cargos(house, name)
    await _talks(house, name)
    said = name or "Open this link to sign in to Archipelag:"
    link = f"{BASE}/sign-in/al_{'l' * 43}"
    house.box.letters.append(
        Letter(
            START,
            name or "ada@example.org",
            name or "Sign in to Archipelag",
            f"{said}\n\n{link}\n",
            "",
        )
    )
    house.scene.clock.advance(95)
    return house


_GPU = {"name": "RTX 4070", "memory_bytes": 12 << 30, "driver": "590"}
_PLACES: Sequence[tuple[str, str, IslandStatus, float, int, float]] = (
    ("reef", "eu-west", IslandStatus.READY, 0.35, 4, 8.4),
    ("skerry", "eu-west", IslandStatus.READY, 0.8, 8, 11.2),
    ("holm", "eu-north", IslandStatus.READY, 0.05, 2, 24.9),
    ("key largo", "us-east", IslandStatus.READY, 0.55, 16, 88.0),
    ("cay", "us-east", IslandStatus.DRAINING, 0.2, 4, 92.3),
    ("atoll", "ap-south", IslandStatus.READY, 0.0, 4, 141.7),
    ("motu", "ap-south", IslandStatus.READY, 0.95, 1, 150.1),
    ("sandbank", "eu-north", IslandStatus.SILENT, 0.0, 2, 30.0),
    ("inchkeith", "eu-west", IslandStatus.SUSPENDED, 0.0, 2, 9.0),
)


async def _islands(house: House, name: str) -> None:
    for known, region, status, load, slots, rtt in _PLACES:
        mine = known in ("reef", "holm", "sandbank")
        capabilities = {
            "region": name or region,
            "os": name or "Linux 6.12",
            "arch": "x86_64",
            "cores": 16,
            "memory_bytes": 32 << 30,
            "disk_free_bytes": 200 << 30,
            "gpus": [_GPU | ({"name": name} if name else {})],
            "runtimes": [{"name": name or "oci", "isolation": [], "not_isolated": []}],
            "agent_version": "0.1.0",
        }
        offers = (
            an_offer(house.scene.cargo, runtime="native"),
            an_offer(
                slug="image-gen",
                digest="sha256:other",
                state="available",
                startable=True,
                items_per_s=0.0,
            ),
            an_offer(
                slug="transcode",
                digest="sha256:third",
                state="failed",
                reason=name or "no encoder on this machine",
            ),
        )
        house.islands[known] = await house.scene.island(
            owner_id=house.ada.id if mine else house.scene.owner.id,
            name=name or known,
            region=name or region,
            status=status,
            approved=known != "motu",
            load=load,
            slots=slots,
            broker_rtt_ms=rtt,
            capabilities=capabilities,
            offers=offers,
        )


def _png(width: int = 96, height: int = 96) -> bytes:
    """A small picture: a disc on a ground."""
    rows = b""
    for y in range(height):
        rows += b"\0"
        for x in range(width):
            inside = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (width / 3) ** 2
            rows += bytes((200, 74, 44) if inside else (235, 225, 200))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def _placement(house: House, name: str) -> Placement:
    """The reef, before two others."""
    reef, skerry, holm = (house.islands[one] for one in ("reef", "skerry", "holm"))
    verdicts = (
        Verdict(reef.id, reef.name, 0.8123, ""),
        Verdict(holm.id, holm.name, 0.6011, ""),
        Verdict(skerry.id, skerry.name, None, name or "is busy: 8 of 8 slots taken"),
    )
    why = f"{reef.name}: first item expected in 94 ms, 50 items/s, 3 of 4 slots free; 2 of 3 Islands could take it"
    return Placement(reef.id, 0.8123, why, verdicts)


def _tries(house: House, jobs: dict[str, Job], placement: Placement, name: str) -> list[Attempt]:
    """How each job came to where it is."""
    reef, holm = house.islands["reef"], house.islands["holm"]
    return [
        an_attempt(
            jobs["done"],
            holm,
            epoch=Epoch(1),
            status=AttemptStatus.LOST,
            cause=Cause.LEASE_LOST,
            reason=name or "the Island was not heard from for 2 s",
            placement=replace(placement, island_id=holm.id),
            next_position=Position(17),
            ended_at=START + timedelta(seconds=4),
        ),
        an_attempt(
            jobs["done"],
            reef,
            epoch=Epoch(2),
            status=AttemptStatus.SUCCEEDED,
            cause=Cause.COMPLETED,
            placement=placement,
            first_position=Position(17),
            next_position=Position(42),
            assigned_at=START + timedelta(seconds=4),
            ended_at=START + timedelta(seconds=9),
        ),
        an_attempt(
            jobs["failed"],
            reef,
            status=AttemptStatus.FAILED,
            cause=Cause.CARGO_FAILED,
            reason=name or "out of memory",
            placement=placement,
        ),
        an_attempt(jobs["running"], reef, status=AttemptStatus.RUNNING, placement=placement),
        an_attempt(
            jobs["picture"],
            reef,
            status=AttemptStatus.SUCCEEDED,
            cause=Cause.COMPLETED,
            placement=placement,
            ended_at=START + timedelta(seconds=31),
        ),
    ]


async def _jobs(house: House, name: str) -> None:
    user, cargo = house.ada, house.scene.cargo
    asked = (name or "Why is the sky blue?").replace("\\", "\\\\").replace('"', '\\"').encode()
    given = b'{"messages":[{"role":"user","content":"%b"}],"max_tokens":256}' % asked
    picture = base64.b64encode(_png()).decode()
    skerry = house.islands["skerry"]
    placement = _placement(house, name)
    common: dict[str, Any] = {"cargo": cargo, "input": given, "key": house.scene.key}
    started = START + timedelta(seconds=1)
    jobs = {
        "done": a_job(
            user,
            **common,
            status=JobStatus.SUCCEEDED,
            epoch=Epoch(2),
            started_at=started,
            ended_at=START + timedelta(seconds=9),
            output=name or ANSWER,
            prompt_tokens=14,
            output_items=42,
            charged=Ucredits(4_480),
            finish_reason="stop",
            cause=Cause.COMPLETED,
        ),
        "picture": a_job(
            user,
            **common,
            status=JobStatus.SUCCEEDED,
            epoch=Epoch(1),
            started_at=started,
            ended_at=START + timedelta(seconds=31),
            output=json.dumps({"image_data": picture, "format": "png", "width": 96, "seed": 7}),
            charged=Ucredits(120_000),
            cause=Cause.COMPLETED,
        ),
        "failed": a_job(
            user,
            **common,
            status=JobStatus.FAILED,
            epoch=Epoch(1),
            started_at=started,
            ended_at=START + timedelta(seconds=4),
            error=name or "the Cargo ended with an error: out of memory",
            cause=Cause.CARGO_FAILED,
        ),
        "waiting": a_job(
            user,
            **common,
            queue_until=START + timedelta(seconds=600),
            waiting_for=(
                name or f"{skerry.name} is busy: 8 of 8 slots taken",
                "cay is draining",
                "sandbank is silent",
            ),
        ),
        "running": a_job(
            user, **common, status=JobStatus.RUNNING, epoch=Epoch(1), started_at=started
        ),
        "other": a_job(house.stranger, cargo=cargo, input=given),
    }
    tries = _tries(house, jobs, placement, name)
    async with house.scene.store.begin() as tx:
        for job in jobs.values():
            await tx.jobs.add(job)
        for one in tries:
            running = replace(one, status=AttemptStatus.ASSIGNED, ended_at=None, cause=None)
            await tx.attempts.add(running)
            if one.status is not AttemptStatus.ASSIGNED:
                await tx.attempts.save(one, was=running)
    house.jobs = jobs


async def _money(house: House) -> None:
    budget = a_key(
        house.ada,
        secret=a_secret(),
        name="laptop",
        budget=Ucredits(50_000_000),
        used=Ucredits(12_345_678),
        rate_per_minute=60,
    )
    job = house.jobs["done"]
    async with house.scene.store.begin() as tx:
        await tx.keys.add(budget)
        await tx.keys.add(a_key(house.ada, secret=a_secret(), name="old one", revoked_at=START))
        await tx.ledger.transfer(a_grant(house.ada, 1_250_500_000, "welcome"))
        await tx.ledger.transfer(
            Transfer(
                f"charge:{job.id}",
                {
                    user_account(house.ada.id): Ucredits(-4_480),
                    owner_account(house.ada.id): Ucredits(4_480),
                },
                START + timedelta(seconds=9),
                job.id,
            )
        )


async def _earnings(house: House) -> None:
    """A fortnight of good work by one Island of hers."""
    reef, cargo = house.islands["reef"], house.scene.cargo
    for number in range(14):
        at = START - timedelta(days=number)
        amount = Ucredits(300_000 + 170_000 * (number * 5 % 7))
        job = a_job(
            house.stranger, cargo=cargo, created_at=at, status=JobStatus.SUCCEEDED, epoch=Epoch(1)
        )
        tried = an_attempt(job, reef, assigned_at=at)
        pay = Pay(job.id, Epoch(1), house.ada.id, PayKind.CHARGE, amount, at)
        ended = replace(
            tried,
            status=AttemptStatus.SUCCEEDED,
            cause=Cause.COMPLETED,
            next_position=Position(120),
            ended_at=at + timedelta(seconds=40),
        )
        entries = {
            user_account(house.stranger.id): Ucredits(-amount),
            owner_account(house.ada.id): amount,
        }
        async with house.scene.store.begin() as tx:
            await tx.jobs.add(job)
            await tx.attempts.add(tried)
            await tx.attempts.save(ended, was=tried)
            await tx.ledger.transfer(a_grant(house.stranger, amount, f"day {number}"))
            await tx.ledger.transfer(Transfer(f"charge:{job.id}", entries, at, job.id, pays=(pay,)))


async def _cargos(house: House, name: str) -> None:
    checks = tuple(Check(one, passed=True, said=name) for one in CHECKS)
    said = (
        {"name": name, "description": name}
        if name
        else {"name": "Wave heights", "description": "Forecasts the height of waves."}
    )
    async with house.scene.store.begin() as tx:
        waiting = await tx.cargos.add(a_submission(house.ada, slug="waves", **said, model=None))
        failed = (
            Check("signature", passed=True),
            Check("license", passed=False, said=name or "GPL-3.0 is not on the list"),
        )
        tried = await tx.cargos.add(
            a_submission(house.ada, slug="tides", **said, model=None, checks=failed)
        )
        verified = waiting.take_checks(checks)
        await tx.cargos.save(verified)
        sbom = b'{"components":[{"name":"numpy","version":"2.4","licenses":[{"license":{"id":"BSD-3-Clause"}}]}]}'
        await tx.cargos.keep_sbom(waiting.id, sbom)
    assert verified.status is CargoStatus.VERIFIED
    house.cargos = {"listed": house.scene.cargo.id, "verified": waiting.id, "submitted": tried.id}


async def _talks(house: House, name: str) -> None:
    """A conversation of ada's with one answer."""
    talk = a_conversation(house.ada.id, title=name or "On islands", messages=2)
    async with house.scene.store.begin() as tx:
        await tx.conversations.add(talk, most=9)
        said = [a_message(talk, number, text=name or "Hello") for number in (1, 2)]
        await tx.conversations.say(said)
    house.talk = talk.id
