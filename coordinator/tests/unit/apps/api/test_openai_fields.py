"""Every field that OpenAI's own client can send has been thought of: done, taken note of, or refused in words.

When a newer client brings a new field, this fails, and somebody decides which of the three it is.
"""

from __future__ import annotations

from typing import Any

import pytest
from archipelag_coordinator.domain.chat import parse_chat
from openai.types import EmbeddingCreateParams, image_generate_params
from openai.types.audio import SpeechCreateParams, transcription_create_params
from openai.types.chat import completion_create_params

from .conftest import Api

CHAT = completion_create_params.CompletionCreateParamsBase
BODIES: dict[str, Any] = {
    "embeddings": EmbeddingCreateParams,
    "images/generations": image_generate_params.ImageGenerateParamsBase,
    "audio/speech": SpeechCreateParams,
}
LISTS = ("include", "keywords", "languages", "timestamp_granularities")


@pytest.mark.parametrize("field", sorted(CHAT.__annotations__))
def test_fields_of_chat(field: str) -> None:
    asked: dict[str, Any] = {field: None, "messages": [{"role": "user", "content": "Hi"}]}

    assert parse_chat(asked, seed=1, items_default=8, items_max=8).output_items_max == 8


@pytest.mark.parametrize("route", BODIES)
async def test_fields_of_the_other_models(api: Api, route: str) -> None:
    fields = dict.fromkeys(BODIES[route].__annotations__)
    async with api.client() as http:
        answer = await http.post(f"/{route}", json=fields | {"model": "none"})

    # It came as far as to look for the model.
    assert answer.status_code == 404, answer.text


async def test_fields_of_a_recording(api: Api) -> None:
    names = transcription_create_params.TranscriptionCreateParamsBase.__annotations__.keys()
    lists = {*LISTS, *(name for name in names if name.startswith("known_speaker_"))}
    fields = {f"{name}[]" if name in lists else name for name in names - {"file"}}
    given = dict.fromkeys(fields, "") | {"model": "none", "response_format": "json"}
    files = {"file": ("a.wav", b"sound", "audio/wav")}
    async with api.client() as http:
        answer = await http.post("/audio/transcriptions", data=given, files=files)
        refused = await http.post(
            "/audio/transcriptions", data={"keywords[]": "reef", "model": "none"}, files=files
        )

    assert answer.status_code == 404, answer.text
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["param"] == "keywords[]"
