"""The page for people who bring their own client: every block on it runs as it stands, with another address and key."""

from __future__ import annotations

import pytest

from .conftest import Outside, documented

ADDRESS = "http://127.0.0.1:8420/v1"
KEY = "ak_…"
TITLES = {
    "openai for Python": 2,
    "openai for Node": 1,
    "Vercel AI SDK": 1,
    "LangChain": 1,
    "litellm": 1,
    "llm": 1,
    "curl": 1,
}


@pytest.mark.real_model
@pytest.mark.usefixtures("python_clients", "node_clients")
@pytest.mark.parametrize("title", TITLES)
async def test_the_documented_code_gets_an_answer(title: str, outside: Outside) -> None:
    blocks = documented()[title]
    assert len(blocks) == TITLES[title]
    for language, written in blocks:
        code = written.replace(ADDRESS, outside.base_url).replace(KEY, outside.api_key)
        if language == "python":
            (outside.home / "program.py").write_text(code)
            said = await outside.run("python", "program.py")
        elif language == "js":
            said = await outside.run("node", str(outside.beside_modules("program.mjs", code)))
        else:
            said = await outside.run("bash", "-euc", code)

        assert said.status == 0, said.error[-3000:]
        if not written.startswith("export"):
            assert "Paris" in said.out or "island" in said.out or "[DONE]" in said.out, said


def test_every_client_on_the_page_is_run() -> None:
    assert set(documented()) == set(TITLES)
