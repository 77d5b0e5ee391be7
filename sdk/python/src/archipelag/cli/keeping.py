"""The commands that keep files on the network and bring them back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from archipelag import Client
from archipelag.cli import printing


def upload(client: Client, arguments: argparse.Namespace) -> None:
    made = [client.upload_file(Path(path), purpose=arguments.purpose) for path in arguments.path]
    if arguments.format == "json":
        printing.as_json(made)
        return
    # The id first, so that it can be cut out.
    for file in made:
        print(f"{file.id}  {printing.clean(file.name)}  {file.media_type}")


def list_files(client: Client, arguments: argparse.Namespace) -> None:
    mine = (
        client.list_job_files(arguments.job)
        if arguments.job
        else client.list_files(limit=arguments.limit)
    )
    found = tuple(mine)
    if arguments.format == "json":
        printing.as_json(found)
        return
    rows = [
        (
            file.id,
            file.name,
            str(file.size_bytes),
            file.media_type,
            printing.moment(file.expires_at),
        )
        for file in found
    ]
    printing.table(("FILE", "NAME", "BYTES", "TYPE", "KEPT UNTIL"), rows, "No files.")


def get(client: Client, arguments: argparse.Namespace) -> None:
    if arguments.output == "-":
        sys.stdout.buffer.write(client.file_content(arguments.id))
        return
    if arguments.output:
        to = Path(arguments.output)
    else:
        # Its name was chosen elsewhere: it lands here, and on nothing that is here already.
        to = Path(Path(printing.clean(client.get_file(arguments.id).name)).name or "file")
        if to.exists():
            raise ValueError(f"{to} is here already; say where to put it with --output")
    file = client.download_file(arguments.id, to)
    told = f"{to}  {file.size_bytes} bytes"
    printing.done(arguments, told, id=arguments.id, path=str(to), size_bytes=file.size_bytes)


def delete(client: Client, arguments: argparse.Namespace) -> None:
    client.delete_file(arguments.id)
    printing.done(arguments, f"{arguments.id} is deleted.", id=arguments.id, deleted=True)
