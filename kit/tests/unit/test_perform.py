"""What an author's function may do, tried without sockets; the same promises are tried over them in integration."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import every_way
import pytest
import returns
from archipelag_kit import BadInput
from archipelag_kit.events import End, Items
from archipelag_kit.performance import Performance
from archipelag_kit.run import Ask
from archipelag_kit.testing import Answer, RunFailed, perform


async def do(what: str, **given: Any) -> Answer:
    options = given.pop("options", {})
    return await perform(every_way.answer, {"do": what, **given}, **options)


async def test_each_text_is_one_item_and_the_prompt_is_metered() -> None:
    answer = await do("words", words=["a ", "", "b"])

    assert answer.items == ["a ", "", "b"]
    assert (answer.prompt_tokens, answer.finish_reason) == (3, "stop")


@pytest.mark.parametrize(("claimed", "told"), [(0, 0), (4, 4), (100, 5)])
async def test_what_was_not_read_again_is_told_beside_the_prompt(claimed: int, told: int) -> None:
    answer = await do("keep", count=claimed, options={"cache_salt": b"\x07\xff"})

    assert (answer.prompt_tokens, answer.cached_tokens, answer.text) == (5, told, "07ff")


async def test_nobody_can_have_kept_less_than_nothing() -> None:
    with pytest.raises(RunFailed, match="cached_tokens must be a whole number"):
        await do("keep", count=-1)


async def test_a_long_text_is_cut_between_characters() -> None:
    text = "é🌊" * 20_000

    answer = await do("words", words=[text])

    assert answer.text == text and len(answer.items) > 1
    assert all(len(item.encode()) <= 32 * 1024 for item in answer.items)


async def test_no_more_items_than_allowed() -> None:
    answer = await do("endless", options={"output_items_max": 5})

    assert answer.items == ["0 ", "1 ", "2 ", "3 ", "4 "]
    assert answer.finish_reason == "length"


async def test_an_answer_may_end_at_a_limit_of_its_own() -> None:
    answer = await do("cut short")

    assert (answer.text, answer.finish_reason) == ("half", "length")


async def test_what_was_delivered_is_left_out() -> None:
    words = ["a", "b", "c"]

    answer = await do(
        "words", words=words, options={"first_position": 2, "resume_texts": ["a", "b"]}
    )

    assert answer.items == ["c"]


async def test_a_function_may_begin_in_the_middle_itself() -> None:
    answer = await do("from", count=5, options={"first_position": 3})

    assert answer.items == ["3 ", "4 "]


async def test_another_answer_than_was_delivered_is_told() -> None:
    with pytest.raises(RunFailed, match="item 1 is not what was delivered"):
        await do(
            "words",
            words=["a", "b", "c"],
            options={"first_position": 2, "resume_texts": ["a", "x"]},
        )


async def test_progress_carries_a_preview() -> None:
    answer = await do("progress")

    assert answer.progress[0].preview == b"\x89PNG"
    assert answer.progress[-1].note == "from a thread"
    assert answer.text == "done"


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 3 << 20])
async def test_a_file_arrives_whole(size: int) -> None:
    answer = await do("file", bytes=size)

    assert answer.files["out.bin"] == b"x" * size
    assert answer.text == f"{hashlib.sha256(b'x' * size).hexdigest()} {size}"


async def test_input_files_are_found_by_their_reference(tmp_path: Path) -> None:
    name = "file_" + "0" * 32
    (tmp_path / name).write_text("inside")

    answer = await do("read", file=name, options={"files": {name: tmp_path / name}})

    assert answer.text == "inside"


async def test_the_loaded_state_is_there() -> None:
    assert (await do("state")).text == "under-test"


async def test_a_refusal_reaches_the_customer_as_it_is() -> None:
    with pytest.raises(BadInput, match=r"^say please$"):
        await do("refuse")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("fail", "the Cargo failed: ValueError: no luck"),
        ("exit", "the Cargo failed: SystemExit: 3"),
        ("half", "half a character"),
        ("number", "it yielded int"),
    ],
)
async def test_errors_of_the_author_become_one_sentence(
    what: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunFailed) as caught:
        await do(what)

    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("value", [{"a": [1, None, "é"]}, [1], 1.5, None, True])
async def test_a_result_is_json(value: Any) -> None:
    answer = await perform(returns.answer, {"do": "echo", "value": value})

    assert answer.value == value


async def test_a_returned_text_is_no_json() -> None:
    assert (await perform(returns.answer, {"do": "echo", "value": "plain"})).text == "plain"


async def test_a_large_result_is_cut_and_joined() -> None:
    answer = await perform(returns.answer, {"do": "large", "characters": 40_000})

    assert answer.value == {"text": "é" * 40_000}
    assert [len(item.encode()) <= 32 * 1024 for item in answer.items] == [True] * 3


async def test_a_result_beyond_the_limits_fails_and_is_not_cut() -> None:
    with pytest.raises(RunFailed, match="send large results as files"):
        await perform(returns.answer, {"do": "large", "characters": 300_000})


@pytest.mark.parametrize("what", ["not-json", "nan"])
async def test_a_result_that_is_no_json_is_told(what: str) -> None:
    with pytest.raises(RunFailed, match="its result is not JSON"):
        await perform(returns.answer, {"do": what})


async def test_a_slow_reader_makes_the_function_wait() -> None:
    performance = Performance(
        every_way.answer, Ask({"do": "endless"}, items_max=1 << 30, bytes_max=1 << 40)
    )
    events = performance.events()
    await anext(events)

    for _ in range(100_000):
        await asyncio.sleep(0)
    seen = 0
    while seen < 20_000 and isinstance(event := await anext(events), Items):
        seen += len(event.texts)
        if event.first > 40_000:
            break

    assert performance._outbox._bytes <= 2 << 20
    await events.aclose()
    await asyncio.wait([performance.task])


async def test_leaving_cancels_and_waits_for_the_thread() -> None:
    every_way.heard_cancel.clear()
    performance = Performance(every_way.answer, Ask({"do": "thread"}))
    await asyncio.sleep(0.05)

    performance.cancel()
    await asyncio.wait([performance.task])

    assert every_way.heard_cancel.is_set() and performance.task.cancelled()


async def test_the_end_is_the_last_event() -> None:
    performance = Performance(every_way.answer, Ask({"do": "words", "words": ["a"]}))

    events = [event async for event in performance.events()]

    assert isinstance(events[-1], End) and events[-1].output_items == 1
