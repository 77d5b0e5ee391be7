"""Lines ready to paste: the same question by curl, Python and JavaScript."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

QUESTION: Final = "Why is the sky blue?"


@dataclass(frozen=True)
class Sample:
    name: str
    before: str
    """What to install first; empty for nothing."""
    text: str


def samples(base_url: str, key: str, model: str) -> list[Sample]:
    """With this key and model filled in."""
    body = json.dumps(
        {"model": model, "stream": True, "messages": [{"role": "user", "content": QUESTION}]}
    )
    curl = f"""curl -N {base_url}/v1/chat/completions \\
  -H 'Authorization: Bearer {key}' \\
  -H 'Content-Type: application/json' \\
  -d '{body}'"""
    python = f"""from openai import OpenAI

client = OpenAI(base_url="{base_url}/v1", api_key="{key}")
stream = client.chat.completions.create(
    model="{model}", stream=True,
    messages=[{{"role": "user", "content": "{QUESTION}"}}],
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)"""
    javascript = f"""import OpenAI from "openai";

const client = new OpenAI({{ baseURL: "{base_url}/v1", apiKey: "{key}" }});
const stream = await client.chat.completions.create({{
  model: "{model}",
  stream: true,
  messages: [{{ role: "user", content: "{QUESTION}" }}],
}});
for await (const chunk of stream) {{
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
}}"""
    return [
        Sample("curl", "", curl),
        Sample("Python", "pip install openai", python),
        Sample("JavaScript", "npm install openai", javascript),
    ]
