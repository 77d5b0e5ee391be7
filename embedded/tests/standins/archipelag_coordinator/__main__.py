"""A stand-in for the Coordinator's commands and server: real rows, one real port, no logic."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nats
import psycopg
from archipelag_contracts.cosign import CosignKey


def main(command: str, *arguments: str) -> None:
    if command == os.environ.get("STANDIN_FAILS"):
        sys.exit(f"{command}: the stand-in was told to fail")
    match command:
        case "keys":
            folder = Path(arguments[arguments.index("--state-dir") + 1])
            (folder / "cosign.pem").write_bytes(CosignKey.generate().private_pem())
        case "broker-config":
            print("max_subscriptions: 1000")
        case "migrate":
            execute("CREATE TABLE IF NOT EXISTS keys (key text)")
        case "bootstrap":
            print(json.dumps(bootstrap(arguments)))
        case "serve":
            asyncio.run(check_broker())
            serve()


def execute(statement: str, *values: str) -> list[tuple[object, ...]]:
    with psycopg.connect(os.environ["ARCHIPELAG_DATABASE_URL"]) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def bootstrap(arguments: tuple[str, ...]) -> dict[str, str | None]:
    made: dict[str, str | None] = {"api_key": None, "pairing_code": None, "user_id": "1"}
    if "--new-key" in arguments:
        made["api_key"] = f"ak_{os.urandom(8).hex()}"
        execute("INSERT INTO keys VALUES (%s)", made["api_key"])
    if "--pairing-code" in arguments:
        made["pairing_code"] = "ABC234"
    assert Path(arguments[arguments.index("--cargo") + 1]).exists()
    return made


async def check_broker() -> None:
    client = await nats.connect(os.environ["ARCHIPELAG_NATS_URL"])
    await client.close()


class Door(BaseHTTPRequestHandler):
    warm = False

    def do_POST(self) -> None:
        Door.warm = True
        self.answer({})

    def do_GET(self) -> None:
        if self.path == "/api/v1/workloads":
            key = self.headers["Authorization"].removeprefix("Bearer ")
            known = execute("SELECT 1 FROM keys WHERE key = %s", key)
            model = {"model": "stand-in-model", "kind": "chat"}
            self.answer({"data": [model] if known else []})
        elif self.path == "/api/v1/hosts":
            cargo = {"slug": "llm-chat", "state": "warm" if Door.warm else "loading"}
            self.answer({"data": [{"seen_at": datetime.now(UTC).isoformat(), "cargos": [cargo]}]})
        else:
            self.answer({"status": "ok"})

    def answer(self, body: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


def serve() -> None:
    address = (os.environ["ARCHIPELAG_HTTP_HOST"], int(os.environ["ARCHIPELAG_HTTP_PORT"]))
    print("serving", flush=True)
    ThreadingHTTPServer(address, Door).serve_forever()


main(*sys.argv[1:])
