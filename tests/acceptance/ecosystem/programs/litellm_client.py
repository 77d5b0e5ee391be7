"""litellm as a client: whole, streamed, asynchronous, vectors, and its own classes for what went wrong."""

import asyncio
import json
import os
import sys

import litellm

chat_model, embedding_model, image_model = sys.argv[1:]
where = {"api_base": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"]}
messages = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
asked = {
    "model": f"openai/{chat_model}",
    "messages": messages,
    "max_tokens": 24,
    "temperature": 0,
    "seed": 7,
    "num_retries": 0,
    "max_retries": 0,
    **where,
}


def failed(**changes):
    try:
        litellm.completion(**(asked | changes))
    except Exception as error:
        return {"name": type(error).__name__, "status": getattr(error, "status_code", None)}
    return None


whole = litellm.completion(**asked)
streamed = {"text": "", "pieces": 0, "usage": None}
options = {"stream": True, "stream_options": {"include_usage": True}}
for chunk in litellm.completion(**asked, **options):
    if chunk.choices and chunk.choices[0].delta.content:
        streamed["text"] += chunk.choices[0].delta.content
        streamed["pieces"] += 1
    if getattr(chunk, "usage", None):
        streamed["usage"] = chunk.usage.model_dump()
later = asyncio.run(litellm.acompletion(**asked))
vectors = litellm.embedding(model=f"openai/{embedding_model}", input=["a cat", "a dog"], **where)
picture = litellm.image_generation(model=f"openai/{image_model}", prompt="a red circle", **where)
tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
errors = {
    "key": failed(api_key="ak_wrong"),
    "model": failed(model="openai/gpt-17"),
    "tools": failed(tools=[tool]),
    "temperature": failed(temperature=9),
}

print(
    json.dumps(
        {
            "whole": {
                "text": whole.choices[0].message.content,
                "usage": whole.usage.model_dump(),
                "finish": whole.choices[0].finish_reason,
            },
            "streamed": streamed,
            "later": later.choices[0].message.content,
            "vectors": [len(one["embedding"]) for one in vectors.data],
            "picture": picture.data[0].b64_json[:8],
            "errors": errors,
        },
        default=str,
    )
)
