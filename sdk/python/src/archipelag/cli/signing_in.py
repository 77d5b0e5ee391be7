"""`archipelag auth`: keeps a key for the next commands, says which one is used, forgets it."""

from __future__ import annotations

import argparse
import getpass
import sys

from archipelag import Client
from archipelag.cli import printing, settings

KEY_LENGTH_MAX = 500


def login(arguments: argparse.Namespace, client_of: printing.ClientOf) -> int:
    """Asks for a key, tries it, and keeps it. Nothing is kept that the network does not know."""
    name = settings.profile_name(arguments.profile)
    chosen = settings.choose(arguments.url, arguments.key, arguments.profile)
    key = arguments.key or _asked()
    with client_of(chosen.url, key) as client:
        account = client.get_account()
        address = ",".join(one.removesuffix("/api/v1") for one in client.settings.addresses)
    file = settings.write(name, {"url": address, "key": key})
    if arguments.format == "json":
        printing.as_json({"profile": name, "url": address, "account": account, "file": str(file)})
    else:
        print(f"Signed in at {address} as {printing.clean(account.email or account.id)}.")
        print(f"Profile {name}, kept in {file}.", file=sys.stderr)
    return 0


def _asked() -> str:
    """From the terminal, unseen, or from standard input."""
    typed = sys.stdin.isatty()
    given = getpass.getpass("API key (unseen): ") if typed else sys.stdin.readline(KEY_LENGTH_MAX)
    key = given.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ValueError("no key was given: --key, standard input, or typed when asked for")
    return key


def status(client: Client, arguments: argparse.Namespace) -> None:
    """Raises AuthenticationError where the key does not hold."""
    chosen = settings.choose(arguments.url, arguments.key, arguments.profile)
    account = client.get_account()
    key = client.settings.api_key or ""
    shown = {
        "profile": chosen.profile,
        "network": ", ".join(client.settings.addresses),
        "network from": chosen.url_from,
        "key": f"{key[:8]}…" if key else "none",
        "key from": chosen.key_from,
        "account": account.email or account.id,
        "role": account.role,
    }
    if arguments.format == "json":
        printing.as_json({name.replace(" ", "_"): value for name, value in shown.items()})
        return
    printing.facts(shown)
    if settings.readable_by_others():
        file = settings.path()
        print(f"archipelag: others can read {file}: chmod 600 it", file=sys.stderr)


def logout(arguments: argparse.Namespace, client_of: printing.ClientOf) -> int:
    """Forgets the profile's key; with --revoke nobody can use it any more."""
    name = settings.profile_name(arguments.profile)
    kept = settings.read().get(name)
    if kept is None:
        if arguments.format == "json":
            printing.as_json({"profile": name, "forgotten": False})
        else:
            print(f"Profile {name} has no key.", file=sys.stderr)
        return 0
    if arguments.revoke:
        with client_of(kept.get("url"), kept.get("key")) as client:
            _revoke(client, kept.get("key", ""))
    settings.write(name, None)
    printing.done(arguments, f"Profile {name} is forgotten.", profile=name, forgotten=True)
    return 0


def _revoke(client: Client, key: str) -> None:
    mine = [one for one in client.list_keys() if one.prefix and key.startswith(one.prefix)]
    live = [one for one in mine if one.revoked_at is None]
    if len(live) != 1:
        raise ValueError("which of the keys it is cannot be told; revoke it with `keys revoke`")
    client.revoke_key(live[0].id)
