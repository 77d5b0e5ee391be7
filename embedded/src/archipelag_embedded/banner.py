"""What a person sees once the network runs: addresses, the key, and lines ready to paste."""

from __future__ import annotations

import json
import shlex

from archipelag_embedded.state import Facts

RULE = "─" * 78


def banner(facts: Facts, api_key: str, *, model: str, command: str = "archipelag") -> str:
    """`command` is how `archipelag` is called from where this is read."""
    question = {
        "model": model,
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        "stream": True,
    }
    picture = {
        "model": "image-gen",
        "prompt": "a big red circle on a white background",
        "response_format": "url",
    }
    return f"""
{RULE}
  Your Archipelag network is ready.

  Open      {facts.api_url}
{_sign_in(facts)}  API docs  {facts.docs_url}
  API key   {api_key}

  Ask it something:

curl -N {facts.api_url}/v1/chat/completions \\
  -H 'Authorization: Bearer {api_key}' -H 'Content-Type: application/json' \\
  -d {shlex.quote(json.dumps(question))}

  Have something drawn, and open the link in the answer:

curl {facts.api_url}/v1/images/generations -H 'Authorization: Bearer {api_key}' \\
  -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(picture))}

  Or at a terminal; without a question it goes on talking:

{shlex.quote(command)} --url {facts.api_url} --key {api_key} chat 'Why is the sky blue?'

  Or from Python (pip install openai):

from openai import OpenAI
client = OpenAI(base_url="{facts.api_url}/v1", api_key="{api_key}")
stream = client.chat.completions.create(
    model="{model}", messages=[{{"role": "user", "content": "Why is the sky blue?"}}], stream=True)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)

  Ctrl-C stops everything; nothing is lost. `make demo` in another terminal shows more.
{RULE}
"""


def _sign_in(facts: Facts) -> str:
    if not facts.sign_in_as:
        return ""
    return f"  Sign in   as {facts.sign_in_as}: the link comes into {facts.mailbox_url}\n"


def exports(facts: Facts, api_key: str) -> str:
    """Lines for a shell's `eval`."""
    values = {
        "ARCHIPELAG_API_URL": facts.api_url,
        "ARCHIPELAG_API_KEY": api_key,
        "ARCHIPELAG_DATABASE_URL": facts.database_url,
        "ARCHIPELAG_NATS_URL": facts.nats_url,
    }
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())
