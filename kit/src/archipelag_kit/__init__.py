"""What a Cargo's author uses: a kit to write one, and the commands that build, test, sign and submit it.

from archipelag_kit import BadInput, Run, cargo

@cargo
async def answer(run: Run) -> dict:
    return {"shouted": run.input["text"].upper()}

if __name__ == "__main__":
    cargo.main()
"""

from archipelag_kit.errors import BadInput, BadOutput, KitError, NotACargo
from archipelag_kit.marking import cargo
from archipelag_kit.run import Run, Setup

__all__ = ["BadInput", "BadOutput", "KitError", "NotACargo", "Run", "Setup", "cargo"]
