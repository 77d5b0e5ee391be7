"""The checks of a running Cargo, in order: each says what it saw, or raises Failed with what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, Final

from archipelag_contracts.tiers import TIERS
from archipelag_island.errors import BadInput, NoSlot, RuntimeFailed

from archipelag_kit.conformance.finding import Failed, LeftOut
from archipelag_kit.conformance.subject import FREED_S, Heard, Subject
from archipelag_kit.events import ITEM_BYTES_MAX

# Not to be guessed right by any schema: no object, no JSON, no UTF-8.
NONSENSE: Final = (b"", b"[]", b'"text"', b"{", b'{"a": NaN}', b"\xff\xfe", b"[" * 10_000)
FIRST_EVENT_S: Final = 5.0
# What the result of a kind must have, where the network reads it itself.
RESULT_FIELDS: Final = {
    "embeddings": ("embeddings",),
    "image": ("image_data", "format"),
    "transcription": ("text",),
}


async def becomes_ready(it: Subject) -> str:
    await it.wait_ready()
    return f"ready after {it.ready_s:.1f} s"


async def describes_as_the_manifest_says(it: Subject) -> str:
    said, manifest = it.description, it.manifest
    if said.slots < 1:
        raise Failed("it says that it has no slots", "say how many runs it takes at once")
    if manifest.resumable and not said.resumable:
        raise Failed("the manifest says resumable, Describe does not", "let both say the same")
    return f"{said.slots} slots" + (
        f", class {said.determinism_class}" if said.determinism_class else ""
    )


async def runs_its_example(it: Subject) -> str:
    heard = await _whole(it)
    if not heard.items and not heard.files:
        raise Failed("the example gave neither text nor file", "send items, or a file")
    _check_result(it, heard)
    return f"{len(heard.items)} items, {heard.bytes} bytes in {heard.seconds:.2f} s"


async def speaks_in_order_and_in_bounds(it: Subject) -> str:
    heard, limits = await _whole(it), it.manifest.limits
    if not heard.gapless:
        raise Failed("positions have gaps", "count items from first_position, by one")
    large = max((len(item.encode()) for item in heard.items), default=0)
    if large > ITEM_BYTES_MAX:
        raise Failed(f"an item has {large} bytes", f"cut texts into {ITEM_BYTES_MAX} bytes at most")
    if len(heard.items) > limits.output_items_max or heard.bytes > limits.output_bytes_max:
        raise Failed(
            f"{len(heard.items)} items with {heard.bytes} bytes", "stay within limits.output_…_max"
        )
    return f"largest item {large} bytes"


async def makes_no_more_than_allowed(it: Subject) -> str:
    if len((await _whole(it)).items) < 2:
        raise LeftOut("the example gives one item")
    heard = await it.run(output_items_max=1)
    if len(heard.items) > 1:
        raise Failed(
            f"one item was allowed, {len(heard.items)} came", "end with finish_reason length"
        )
    return "ends where it is told to"


async def refuses_bad_input(it: Subject) -> str:
    refused = 0
    wrong: list[dict[str, Any] | bytes] = [*NONSENSE, *_against(it.manifest.input)]
    for given in wrong:
        shown = given[:40] if isinstance(given, bytes) else json.dumps(given)[:40]
        try:
            heard = await it.run(given)
        except BadInput as error:
            refused += 1
            if not str(error).strip():
                raise Failed(f"{shown!r} was refused without a word", "say what is wrong") from None
        except RuntimeFailed as error:
            raise Failed(
                f"{shown!r} broke it: {error}", "answer INVALID_ARGUMENT (raise BadInput)"
            ) from None
        else:
            how = heard.end.error if heard.end is not None and heard.end.error else "accepted"
            raise Failed(f"{shown!r}: {how}", "refuse what the schema does not allow as bad input")
    await _whole(it)
    return f"{refused} inputs refused, and it goes on"


async def ends_when_cancelled(it: Subject) -> str:
    """Every slot is taken and given up; then a run must find room again."""
    for _ in range(it.description.slots):
        # One that says nothing for a while is given up too.
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_EVENT_S), aclosing(it.events()) as events:
                async for _event in events:
                    break
    try:
        async with asyncio.timeout(FREED_S * 2):
            await _whole(it)
    except (NoSlot, TimeoutError):
        raise Failed(
            "a cancelled run goes on holding its slot",
            "end when the call is cancelled (run.cancelled)",
        ) from None
    return "a cancelled run frees its slot"


async def runs_side_by_side(it: Subject) -> str:
    """As many at once as it has slots; one more is refused or has room by then, and never breaks it."""
    slots = min(it.description.slots, 8)
    alone = await _whole(it)
    together = await asyncio.gather(*(it.run() for _ in range(slots)))
    for heard in together:
        _check_end(heard)
        if _claims_determinism(it) and heard.text != alone.text:
            raise Failed(
                "a run beside others gave another answer", "keep runs apart from each other"
            )
    return f"{slots} at once"


async def repeats_itself(it: Subject) -> str:
    if not _claims_determinism(it):
        raise LeftOut("it names no determinism class and takes no seed")
    first, second = await _whole(it), await _whole(it)
    if first.text != second.text:
        raise Failed(
            "the same input gave two answers",
            "use the seed for all chance, or name no determinism class",
        )
    return "the same input, the same answer"


async def goes_on_in_the_middle(it: Subject) -> str:
    if not it.manifest.resumable:
        raise LeftOut("the manifest does not say resumable")
    whole = await _whole(it)
    half = len(whole.items) // 2
    if half == 0:
        raise LeftOut("the example gives one item")
    rest = await it.run(first_position=half, resume_texts=tuple(whole.items[:half]))
    _check_end(rest)
    if rest.items != whole.items[half:] or not rest.gapless:
        raise Failed(
            f"resumed at item {half} it goes on differently",
            "give the items from first_position on, or say resumable = false",
        )
    return f"resumed at item {half}"


async def needs_what_it_says(it: Subject) -> str:
    used, needs = it.used(), it.manifest.needs.memory_mb << 20
    if used.memory_peak_bytes == 0:
        raise LeftOut("this host does not measure it")
    peak = -(-used.memory_peak_bytes // (1 << 20))
    if used.memory_peak_bytes > needs:
        raise Failed(
            f"{peak} MiB at its peak, the manifest says {it.manifest.needs.memory_mb}",
            f"set needs.memory_mb to {peak * 5 // 4}",
        )
    tier = TIERS[it.manifest.limits.tier]
    return f"{peak} MiB of {it.manifest.needs.memory_mb}; the tier has {tier.memory_bytes >> 20}"


CHECKS: Final[tuple[tuple[str, Callable[[Subject], Awaitable[str]]], ...]] = (
    ("it becomes ready", becomes_ready),
    ("it describes itself", describes_as_the_manifest_says),
    ("it runs its example", runs_its_example),
    ("its items are in order and small", speaks_in_order_and_in_bounds),
    ("it makes no more than allowed", makes_no_more_than_allowed),
    ("it refuses bad input", refuses_bad_input),
    ("it ends when cancelled", ends_when_cancelled),
    ("it fills its slots", runs_side_by_side),
    ("it repeats itself", repeats_itself),
    ("it goes on in the middle", goes_on_in_the_middle),
    ("it needs what it says", needs_what_it_says),
)


async def _whole(it: Subject) -> Heard:
    try:
        heard = await it.run()
    except BadInput as error:
        raise Failed(f"it refuses its own example: {error}", "mend [example] or the code") from None
    except NoSlot:
        raise
    except RuntimeFailed as error:
        raise Failed(f"the example broke it: {error}", "see its standard error") from None
    _check_end(heard)
    return heard


def _check_end(heard: Heard) -> None:
    if heard.end is None:
        raise Failed("it stopped speaking before its end", "send an end with a finish_reason")
    if heard.end.error:
        raise Failed(f"it failed: {heard.end.error}", "see its standard error")


def _check_result(it: Subject, heard: Heard) -> None:
    wanted = RESULT_FIELDS.get(it.manifest.kind)
    if wanted is None:
        return
    try:
        result: Any = json.loads(heard.text)
        missing = [name for name in wanted if name not in result]
    except (ValueError, TypeError):
        raise Failed(
            "its result is not JSON", f"kind {it.manifest.kind} gives a JSON object"
        ) from None
    if missing:
        raise Failed(f"its result lacks {', '.join(missing)}", f"kind {it.manifest.kind} has them")


def _claims_determinism(it: Subject) -> bool:
    named = bool(it.description.determinism_class)
    return named or it.manifest.resumable or "seed" in it.manifest.input.get("properties", {})


def _against(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Objects that the schema forbids."""
    found: list[dict[str, Any]] = []
    if schema.get("required"):
        found.append({})
    for name, part in list(schema.get("properties", {}).items())[:4]:
        if part.get("type") in ("string", "integer", "number", "boolean"):
            found.append({name: {"not": ["what", "is", "wanted"]}})
    if schema.get("additionalProperties") is False:
        found.append({"archipelag-no-such-field": 1})
    return found
