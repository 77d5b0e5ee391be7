"""Tries a Cargo's function without sockets: the same run, limits and checks as behind the real ones.

from archipelag_kit.testing import perform

async def test_shouts():
    answer = await perform(shout, {"text": "land"})
    assert answer.value == {"shouted": "LAND"}
"""

from archipelag_kit.testing.perform import Answer, RunFailed, perform

__all__ = ["Answer", "RunFailed", "perform"]
