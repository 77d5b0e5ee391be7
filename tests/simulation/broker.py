"""A NATS server in memory that speaks the protocol itself, so that the real clients talk to it."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from archipelag_contracts import subjects
from archipelag_coordinator.adapters.nats.credentials import CONNECTED, DISCONNECTED

from simulation.jetstream import JetStream
from simulation.network import Line, Network
from simulation.party import Party

NAME: Final = "nats"
PAYLOAD_BYTES_MAX: Final = 8 << 20
UNSENT_BYTES_MAX: Final = 64 << 20
"""A client for whom so much waits is slow, and is cut off."""
NO_RESPONDERS: Final = b"NATS/1.0 503\r\n\r\n"
CAME: Final = CONNECTED.format(account="SIM")
WENT: Final = DISCONNECTED.format(account="SIM")
"""What the system account hears of connections."""


@dataclass(eq=False, slots=True)
class Subscription:
    client: Client
    sid: bytes
    subject: str
    queue: str
    left: int = -1
    """Messages until it ends by itself; -1: for ever."""


class Subjects:
    """Subscriptions by subject: a tree over tokens."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}

    def add(self, one: Subscription) -> None:
        node = self._root
        for token in one.subject.split("."):
            node = node.setdefault(token, {})
        node.setdefault("", []).append(one)

    def remove(self, one: Subscription) -> None:
        node = self._root
        for token in one.subject.split("."):
            node = node.get(token, {})
        if one in node.get("", []):
            node[""].remove(one)

    def match(self, subject: str) -> list[Subscription]:
        nodes, found = [self._root], []
        for token in subject.split("."):
            following = []
            for node in nodes:
                if (exact := node.get(token)) is not None:
                    following.append(exact)
                if (any_one := node.get("*")) is not None:
                    following.append(any_one)
                if (rest := node.get(">")) is not None:
                    found += rest.get("", ())
            nodes = following
        for node in nodes:
            found += node.get("", ())
        return found


class Broker:
    """One run of the server. `jetstream` outlives it as files do; what was in memory is gone."""

    def __init__(self, party: Party, network: Network, rng: Random, jetstream: JetStream) -> None:
        self.party = party
        self.network = network
        self.rng = rng
        self.jetstream = jetstream
        self.server_id = f"SIM{party.number}"
        self.subjects = Subjects()
        self.clients: dict[int, Client] = {}
        self.loss = 0.0
        """Chance that a message is not delivered: NATS promises at most once."""
        self.repeat = 0.0
        self.counts = {"in": 0, "out": 0, "lost": 0, "repeated": 0, "refused": 0}
        self.unsent_most_bytes = 0
        jetstream.attach(self)

    def accepted(self, line: Line) -> Client:
        client = Client(self, line)
        self.clients[line.number] = client
        client.greet()
        return client

    def published(
        self, subject: str, reply: str, payload: bytes, headers: bytes, by: Client | None
    ) -> None:
        """From a client, or, with None, from the server itself."""
        self.counts["in"] += 1
        if subject.startswith("$JS."):
            self.jetstream.asked(subject, reply, payload)
            return
        kept = self.jetstream.keep(subject, reply, payload)
        heard = self.deliver(subject, reply, payload, headers)
        if not heard and not kept and reply and by is not None and by.no_responders:
            by.no_responder(reply)

    def told_system(self, subject: str, island: str, number: int, reason: str = "") -> None:
        """Whose connection began or ended."""
        claims = base64.urlsafe_b64encode(json.dumps({"name": island}).encode()).decode()
        said = {
            "server": {"id": self.server_id},
            "client": {"id": number, "jwt": f"head.{claims}.signature"},
            "reason": reason,
        }
        self.published(subject, "", json.dumps(said).encode(), b"", None)

    def deliver(self, subject: str, reply: str, payload: bytes, headers: bytes = b"") -> int:
        """To every subscription, and to one of each queue group. How many there were."""
        self.network.trace(f"{subject} {len(payload)} {zlib.crc32(payload)}")
        matching = self.subjects.match(subject)
        groups: dict[str, list[Subscription]] = {}
        chosen = []
        for one in matching:
            if one.queue:
                groups.setdefault(one.queue, []).append(one)
            else:
                chosen.append(one)
        for members in groups.values():
            chosen.append(members[self.rng.randrange(len(members))])
        for one in chosen:
            times = 1
            # Only what is said freely gets lost here; replies and the broker's own word do by their connections.
            if subject.startswith(subjects.ROOT) and (self.loss or self.repeat):
                if self.rng.random() < self.loss:
                    times = 0
                    self.counts["lost"] += 1
                elif self.rng.random() < self.repeat:
                    times = 2
                    self.counts["repeated"] += 1
            for _ in range(times):
                one.client.deliver(one, subject, reply, payload, headers)
        self.counts["out"] += len(chosen)
        return len(chosen)


class Client:
    """One connection as the server sees it."""

    def __init__(self, broker: Broker, line: Line) -> None:
        self._broker = broker
        self._line = line
        self._subscriptions: dict[bytes, Subscription] = {}
        self._buffer = b""
        self._out: list[bytes] = []
        self._island = ""
        self._may_answer: set[str] = set()
        """Inboxes of requests that this Island was sent: its credentials let it answer each once."""
        self.no_responders = False

    def greet(self) -> None:
        info = {
            "server_id": self._broker.server_id,
            "server_name": "sim",
            "version": "2.12.1",
            "headers": True,
            "jetstream": True,
            "proto": 1,
            "max_payload": PAYLOAD_BYTES_MAX,
            "client_id": self._line.number,
        }
        self._line.write_down(b"INFO " + json.dumps(info).encode() + b"\r\n")

    def received(self, data: bytes) -> None:
        buffer = self._buffer + data
        at = 0
        while (end := buffer.find(b"\r\n", at)) >= 0:
            words = buffer[at:end].split(b" ")
            word = words[0].upper()
            if word in (b"PUB", b"HPUB"):
                size = int(words[-1])
                stop = end + 2 + size
                if len(buffer) < stop + 2:
                    break
                self._publish(word, words, buffer[end + 2 : stop])
                at = stop + 2
            else:
                self._control(word, words, buffer[at:end])
                at = end + 2
        self._buffer = buffer[at:]
        self._write_out()

    def closed(self) -> None:
        for one in self._subscriptions.values():
            self._broker.subjects.remove(one)
        self._subscriptions.clear()
        self._broker.clients.pop(self._line.number, None)
        if self._island:
            self._broker.told_system(WENT, self._island, self._line.number, "Client Closed")

    @property
    def open(self) -> bool:
        return self._line.open

    def deliver(
        self, one: Subscription, subject: str, reply: str, payload: bytes, headers: bytes
    ) -> None:
        head = (
            f"{subject} {one.sid.decode()} {reply} " if reply else f"{subject} {one.sid.decode()} "
        )
        if headers:
            whole = len(headers) + len(payload)
            data = f"HMSG {head}{len(headers)} {whole}\r\n".encode() + headers + payload + b"\r\n"
        else:
            data = f"MSG {head}{len(payload)}\r\n".encode() + payload + b"\r\n"
        self._line.write_down(data)
        if reply and self._island:
            self._may_answer.add(reply)
        unsent = self._line.unsent_down()
        self._broker.unsent_most_bytes = max(self._broker.unsent_most_bytes, unsent)
        if unsent > UNSENT_BYTES_MAX:
            self._line.drop()
        if one.left > 0:
            one.left -= 1
            if one.left == 0:
                self._unsubscribe(one.sid)

    def no_responder(self, reply: str) -> None:
        for one in self._broker.subjects.match(reply):
            if one.client is self:
                self.deliver(one, reply, "", b"", NO_RESPONDERS)
                return

    def _control(self, word: bytes, words: list[bytes], line: bytes) -> None:
        match word:
            case b"PING":
                self._out.append(b"PONG\r\n")
            case b"PONG":
                pass
            case b"CONNECT":
                said = json.loads(b" ".join(words[1:]))
                self.no_responders = bool(said.get("no_responders"))
                name = str(said.get("name") or "")
                self._island = name.removeprefix("island ") if name.startswith("island ") else ""
                if self._island:
                    self._broker.told_system(CAME, self._island, self._line.number)
            case b"SUB":
                queue = words[2].decode() if len(words) == 4 else ""
                one = Subscription(self, words[-1], words[1].decode(), queue)
                self._subscriptions[one.sid] = one
                self._broker.subjects.add(one)
            case b"UNSUB":
                if len(words) == 3 and words[2] and int(words[2]) > 0:
                    if (standing := self._subscriptions.get(words[1])) is not None:
                        standing.left = int(words[2])
                else:
                    self._unsubscribe(words[1])
            case _:
                raise AssertionError(f"a client said {line!r}")

    def _publish(self, word: bytes, words: list[bytes], body: bytes) -> None:
        headers = b""
        words = [one for one in words if one]
        if word == b"HPUB":
            size = int(words[-2])
            headers, body = body[:size], body[size:]
            words = [*words[:-2], words[-1]]
        subject = words[1].decode()
        reply = words[2].decode() if len(words) == 4 else ""
        if self._island and subject in self._may_answer:
            self._may_answer.discard(subject)
        elif self._island and not self._may_publish(subject):
            self._broker.counts["refused"] += 1
            self._out.append(b"-ERR 'Permissions Violation for Publish to \"%b\"'\r\n" % words[1])
            return
        self._broker.published(subject, reply, body, headers, self)

    def _may_publish(self, subject: str) -> bool:
        own = f"{subjects.ISLANDS}.{self._island}."
        return subject.startswith(own) and subject[len(own) :].split(".", maxsplit=1)[0] in (
            "heartbeat",
            "out",
            "report",
        )

    def _unsubscribe(self, sid: bytes) -> None:
        one = self._subscriptions.pop(sid, None)
        if one is not None:
            self._broker.subjects.remove(one)

    def _write_out(self) -> None:
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._line.write_down(data)
