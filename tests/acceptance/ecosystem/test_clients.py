"""What other people's clients do, in their own processes, against a real network and its real models."""

from __future__ import annotations

import base64
from typing import Any

import openai
import pytest

from tests.acceptance.conftest import CHAT_MODEL, Network

from .conftest import Outside, Said

EMBEDDING_MODEL = "all-minilm-l6-v2"
IMAGE_MODEL = "image-gen"
VECTORS = [384, 384]
PNG = base64.b64encode(b"\x89PNG\r\n")[:8].decode()
pytestmark = pytest.mark.real_model


@pytest.fixture(scope="module", autouse=True)
def warm(network: Network) -> None:
    """The models run. Before somebody asks for them the first time they are not even fetched."""
    with openai.OpenAI(
        base_url=network.openai_url, api_key=network.api_key, max_retries=10
    ) as client:
        listed = {model.id for model in client.models.list()}
        if missing := {EMBEDDING_MODEL, IMAGE_MODEL} - listed:
            pytest.skip(f"{missing}: their engines are not installed (`make cargos`)")
        client.embeddings.create(model=EMBEDDING_MODEL, input="a cat")
        client.images.generate(model=IMAGE_MODEL, prompt="a cat")


def check_answers(value: dict[str, Any]) -> None:
    """The whole answer and the streamed one are the same, and the stream was one."""
    whole, streamed = value["whole"], value["streamed"]
    assert "Paris" in whole["text"]
    assert streamed["text"] == whole["text"]
    assert streamed["pieces"] > 3, "the answer came in one piece: it was not streamed"


@pytest.mark.usefixtures("node_clients")
async def test_openai_for_node(outside: Outside) -> None:
    said = await outside.node("openai_node.mjs", CHAT_MODEL, EMBEDDING_MODEL, IMAGE_MODEL)

    value = said.value
    check_answers(value)
    assert value["collected"] == value["whole"]["text"]
    assert value["streamed"]["usage"]["total_tokens"] == value["whole"]["usage"]["total_tokens"] > 0
    assert value["streamed"]["finish"] == value["whole"]["finish"] in ("stop", "length")
    assert {CHAT_MODEL, EMBEDDING_MODEL, IMAGE_MODEL} <= set(value["models"])
    assert value["model"] == CHAT_MODEL
    assert value["embeddings"] == VECTORS
    assert value["image"] == PNG
    assert value["file"] == {"content": "some text", "listed": True, "deleted": True}
    errors = {
        name: (one["name"], one["status"], one["code"]) for name, one in value["errors"].items()
    }
    assert errors == {
        "key": ("AuthenticationError", 401, "invalid_api_key"),
        "model": ("NotFoundError", 404, "not_found"),
        "temperature": ("UnprocessableEntityError", 422, "invalid_input"),
        "tools": ("BadRequestError", 400, "unsupported"),
        "file": ("NotFoundError", 404, "not_found"),
    }
    assert value["errors"]["temperature"]["param"] == "temperature"
    assert value["errors"]["tools"]["param"] == "tools"


@pytest.mark.usefixtures("node_clients")
async def test_vercel_ai_sdk(outside: Outside) -> None:
    said = await outside.node("ai_sdk.mjs", CHAT_MODEL, EMBEDDING_MODEL)

    value = said.value
    check_answers(value)
    tokens = [one["usage"]["totalTokens"] for one in (value["whole"], value["streamed"])]
    assert tokens[0] == tokens[1] > 0
    assert value["whole"]["finish"] == value["streamed"]["finish"] in ("stop", "length")
    assert value["embeddings"] == VECTORS
    model, tools = value["errors"]["model"], value["errors"]["tools"]
    assert (model["status"], model["again"]) == (404, False)
    assert (tools["status"], tools["again"]) == (400, False)
    assert "tools: this model cannot do that" in tools["message"]


@pytest.mark.usefixtures("python_clients")
async def test_langchain(outside: Outside) -> None:
    said = await outside.python("langchain_client.py", CHAT_MODEL, EMBEDDING_MODEL)

    value = said.value
    check_answers(value)
    text, usage = value["whole"]["text"], value["whole"]["usage"]
    assert usage["total_tokens"] == value["streamed"]["usage"]["total_tokens"] > 0
    assert value["batch"] == [text, text]
    assert value["vectors"] == VECTORS
    errors = value["errors"]
    assert errors["model"]["status"] == 404 and "NotFoundError" in errors["model"]["bases"]
    assert errors["key"]["status"] == 401 and "AuthenticationError" in errors["key"]["bases"]
    for what in ("tools", "structured", "json_mode"):
        assert errors[what]["status"] == 400, what
        assert "BadRequestError" in errors[what]["bases"], what
        assert errors[what]["param"] in ("tools", "response_format"), what


@pytest.mark.usefixtures("python_clients")
async def test_litellm(outside: Outside) -> None:
    said = await outside.python("litellm_client.py", CHAT_MODEL, EMBEDDING_MODEL, IMAGE_MODEL)

    value = said.value
    check_answers(value)
    assert value["later"] == value["whole"]["text"]
    assert value["streamed"]["usage"]["total_tokens"] == value["whole"]["usage"]["total_tokens"] > 0
    assert value["vectors"] == VECTORS
    assert value["picture"] == PNG
    assert value["errors"] == {
        "key": {"name": "AuthenticationError", "status": 401},
        "model": {"name": "NotFoundError", "status": 404},
        "tools": {"name": "BadRequestError", "status": 400},
        # Its own class for what is not valid.
        "temperature": {"name": "BadRequestError", "status": 422},
    }


MODELS = f"""
- model_id: archipelag
  model_name: {CHAT_MODEL}
  api_base: {{base_url}}
  api_key_name: archipelag
- model_id: nobody
  model_name: gpt-17
  api_base: {{base_url}}
  api_key_name: archipelag
"""
QUESTION = "What is the capital of France? Answer in one sentence."
ASK = ("-o", "max_tokens", "24", "-o", "temperature", "0", "-o", "seed", "7")


@pytest.mark.usefixtures("python_clients")
async def test_llm(outside: Outside) -> None:
    folder = outside.home / ".config" / "io.datasette.llm"
    folder.mkdir(parents=True)
    models = folder / "extra-openai-models.yaml"
    models.write_text(MODELS.format(base_url=outside.base_url))
    kept = await _llm(outside, "keys", "set", "archipelag", "--value", outside.api_key)
    listed = await _llm(outside, "models")
    streamed = await _llm(outside, "-m", "archipelag", *ASK, QUESTION)
    whole = await _llm(outside, "-m", "archipelag", "--no-stream", "-u", *ASK, QUESTION)
    more = await _llm(outside, "-c", *ASK, "And of Italy?")
    refused = await _llm(outside, "-m", "nobody", "Anybody?")

    assert kept.status == 0, kept.error
    assert "archipelag" in listed.out
    assert "Paris" in streamed.out
    assert whole.out == streamed.out
    assert "input" in whole.error and "output" in whole.error, "it shows how many tokens it took"
    assert more.status == 0 and more.out.strip()
    assert refused.status != 0 and "gpt-17" in refused.error


async def _llm(outside: Outside, *arguments: str) -> Said:
    return await outside.run("llm", *arguments)
