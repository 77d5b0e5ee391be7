"""`archipelag image`: draws a picture and writes it to a file."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from archipelag import Client
from archipelag.cli import printing

NAME_LENGTH_MAX = 40


def image(client: Client, arguments: argparse.Namespace) -> None:
    to = _to(arguments)
    picture = client.generate_image(
        arguments.prompt,
        arguments.model,
        negative_prompt=arguments.negative,
        width=arguments.width,
        height=arguments.height,
        steps=arguments.steps,
        guidance_scale=arguments.guidance,
        seed=arguments.seed,
    )
    if to is None:
        sys.stdout.buffer.write(picture.data)
        return
    if not arguments.output:
        to = to.with_suffix(f".{re.sub('[^a-z0-9]', '', picture.format) or 'png'}")
    to.write_bytes(picture.data)
    if arguments.format == "json":
        shown = {"file": str(to), "bytes": len(picture.data), "seed": picture.seed}
        printing.as_json(shown | {"job_id": picture.job_id, "credits_used": picture.credits_used})
        return
    price = printing.credits_text(picture.credits_used)
    print(f"{to}  {len(picture.data)} bytes  seed {picture.seed}  {price}")


def _to(arguments: argparse.Namespace) -> Path | None:
    """Where it goes, found out before anything is paid for; None: standard output."""
    if arguments.output == "-":
        return None
    name = re.sub(r"[^\w-]+", "-", arguments.prompt.lower()).strip("-")[:NAME_LENGTH_MAX]
    to = Path(arguments.output or f"{name or 'picture'}.png")
    if to.exists() and not arguments.force:
        raise ValueError(f"{to} is here already; --force replaces it, --output names another")
    if not to.absolute().parent.is_dir():
        raise ValueError(f"{to.parent} is no folder")
    return to
