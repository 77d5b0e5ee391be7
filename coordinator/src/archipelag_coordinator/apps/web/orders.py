"""An owner's orders to one Island, as forms: drain and resume, the hours of the week, and the least that is paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from archipelag_contracts.manifest import Price
from archipelag_contracts.units import ZERO, Ucredits, to_credits
from archipelag_contracts.week import EVERY_HOUR, HOURS
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.web.asking import Visitor, signed_in, world_of
from archipelag_coordinator.apps.web.forms import Form, read_form
from archipelag_coordinator.apps.web.islands import Earnings, known, one_island
from archipelag_coordinator.apps.web.render import go, page
from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.wishes import DAY_HOURS, LEAST_PRICES_MAX, NOTHING, Order
from archipelag_coordinator.errors import InvalidInput
from archipelag_coordinator.services.order import order_island
from archipelag_coordinator.services.world import World

DAY_NAMES: Final = (
    *("Monday", "Tuesday", "Wednesday", "Thursday"),
    *("Friday", "Saturday", "Sunday"),
)
PARTS: Final = (
    ("job_ucredits", "a job"),
    ("prompt_token_ucredits", "a token read"),
    ("output_item_ucredits", "a piece made"),
)
_FORM_CARGOS_MAX: Final = 32
"""With three fields each a form stays below its limit of fields."""


@dataclass(frozen=True)
class Hour:
    """One box of the week."""

    number: int
    said: str
    lent: bool


@dataclass(frozen=True)
class Part:
    """One part of a Cargo's price, and the least that is asked for it."""

    field: str
    said: str
    pays: int
    least: str


@dataclass(frozen=True)
class Asking:
    """One Cargo. `lost`: what it earned here in the time shown; at this price it brings nothing any more."""

    slug: str
    parts: tuple[Part, ...]
    refused: bool
    lost: int


async def get_island(request: Request) -> Response:
    return await _shown(request, await signed_in(request))


async def post_drain(request: Request) -> Response:
    form = await read_form(request)
    drains = form.values.get("draining") == "yes"
    return await _ordered(request, Order(draining=drains), "drained" if drains else "resumed")


async def post_hours(request: Request) -> Response:
    form = await read_form(request)
    hours = sum(1 << hour for hour in range(HOURS) if form.has(f"hour-{hour}"))
    always = form.values.get("always") == "yes"
    return await _ordered(request, Order(hours=EVERY_HOUR if always else hours), "scheduled")


async def post_prices(request: Request) -> Response:
    form = await read_form(request)
    visitor = await signed_in(request)
    try:
        order = Order(least=_least(form))
    except InvalidInput as error:
        return await _shown(request, visitor, given=form, errors=error.errors)
    return await _ordered(request, order, "priced", form)


async def _ordered(
    request: Request, order: Order, done: str, given: Form | None = None
) -> Response:
    visitor = await signed_in(request)
    island_id = known(request)
    try:
        await order_island(world_of(request), visitor.user, island_id, order)
    except InvalidInput as error:
        return await _shown(request, visitor, given=given, errors=error.errors)
    return go(f"/islands/{island_id}", done)


async def _shown(
    request: Request,
    visitor: Visitor,
    *,
    given: Form | None = None,
    errors: dict[str, list[str]] | None = None,
) -> Response:
    told = await one_island(request, visitor)
    island: Island = told["island"]
    if told["whole"] and (told["mine"] or visitor.administers) and island.may_connect:
        asked = _asked(world_of(request), island, told["earnings"], given)
        told |= {"week": _week(island), "asked": asked, "errors": errors or {}}
    status = 422 if errors else 200
    return page(request, "island.html", status_code=status, at="islands", **told)


def _week(island: Island) -> list[tuple[str, list[Hour]]]:
    def hour(day: int, clock: int) -> Hour:
        number = day * DAY_HOURS + clock
        said = f"{DAY_NAMES[day]}, {clock}:00 to {clock + 1}:00"
        return Hour(number, said, bool(island.wishes.hours >> number & 1))

    return [(name, [hour(day, h) for h in range(DAY_HOURS)]) for day, name in enumerate(DAY_NAMES)]


def _asked(world: World, island: Island, earned: Earnings, given: Form | None) -> list[Asking]:
    """Of what it offers, and of what a least was asked for before."""
    paid = {row.group: row.charged + row.insured for row in earned.by_workload}
    prices = {cargo.slug: cargo.manifest.price for cargo in world.catalogue.cargos}
    offered = {offer.slug for offer in island.offers} & prices.keys()
    slugs = sorted(island.wishes.least.keys() | offered)[:_FORM_CARGOS_MAX]
    found = []
    for slug in slugs:
        pays, least = prices.get(slug), island.wishes.least.get(slug, NOTHING)
        parts = tuple(
            _part(slug, name, said, pays or NOTHING, least, given)
            for name, said in PARTS
            if getattr(pays or NOTHING, name) or getattr(least, name)
        )
        refused = pays is not None and island.wishes.refuse(slug, pays)
        found.append(Asking(slug, parts, refused, paid.get(slug, 0)))
    return [one for one in found if one.parts]


def _part(slug: str, name: str, said: str, pays: Price, least: Price, given: Form | None) -> Part:
    field = f"least.{slug}.{name}"
    asked: int = getattr(least, name)
    value = given.values.get(field, "") if given else to_credits(asked) if asked else ""
    return Part(field, said, getattr(pays, name), value)


def _least(form: Form) -> dict[str, Price]:
    """Raises InvalidInput with every field that is no number of credits."""
    read: dict[str, dict[str, Ucredits]] = {}
    errors: dict[str, list[str]] = {}
    for name in form.values:
        where, _, rest = name.partition(".")
        slug, _, part = rest.rpartition(".")
        if where != "least" or part not in dict(PARTS) or len(read) > LEAST_PRICES_MAX:
            continue
        try:
            read.setdefault(slug, {})[part] = form.credits(name) or ZERO
        except InvalidInput as error:
            errors |= error.errors
    if errors:
        raise InvalidInput(errors)
    return {slug: Price(**parts) for slug, parts in read.items()}


ROUTES: Final = (
    Route("/islands/{id}", get_island),
    Route("/islands/{id}/drain", post_drain, methods=["POST"]),
    Route("/islands/{id}/hours", post_hours, methods=["POST"]),
    Route("/islands/{id}/prices", post_prices, methods=["POST"]),
)
