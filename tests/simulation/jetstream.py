"""What the network uses of JetStream: two streams, one durable consumer that is pulled from, reading by subject."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from simulation.network import NOBODY
from simulation.party import START

if TYPE_CHECKING:
    from simulation.broker import Broker

NS: Final = 1_000_000_000
IDLE_S: Final = 1.0
UNACKED_MAX: Final = 1024


@dataclass
class Kept:
    sequence: int
    subject: str
    payload: bytes
    at: float


@dataclass
class Stream:
    config: dict[str, Any]
    messages: dict[int, Kept] = field(default_factory=dict)
    by_subject: dict[str, deque[int]] = field(default_factory=dict)
    last: int = 0
    size_bytes: int = 0
    most: int = 0

    def add(self, subject: str, payload: bytes, now: float) -> Kept:
        self.last += 1
        kept = Kept(self.last, subject, payload, now)
        self.messages[kept.sequence] = kept
        self.by_subject.setdefault(subject, deque()).append(kept.sequence)
        self.size_bytes += len(payload)
        self.most = max(self.most, len(self.messages))
        return kept

    def remove(self, sequence: int) -> None:
        kept = self.messages.pop(sequence, None)
        if kept is not None:
            self.size_bytes -= len(kept.payload)
            line = self.by_subject[kept.subject]
            line.remove(sequence)
            if not line:
                del self.by_subject[kept.subject]

    def forget_old(self, now: float) -> None:
        age = self.config.get("max_age", 0) / NS
        while self.messages:
            first = self.messages[next(iter(self.messages))]
            too_many = (
                self.config["discard"] == "old" and self.size_bytes > self.config["max_bytes"]
            )
            if not too_many and not (age and now - first.at > age):
                return
            self.remove(first.sequence)


@dataclass
class Pull:
    inbox: str
    left: int
    until: float
    heard: float


@dataclass
class Consumer:
    stream: str
    name: str
    ack_wait: float
    deliveries_max: int
    next: int = 1
    """Sequence from which new messages are looked for."""
    delivered: dict[int, int] = field(default_factory=dict)
    """Sequence → times delivered, of those not yet acknowledged."""
    due: dict[int, float] = field(default_factory=dict)
    """Sequence → when it is delivered again."""
    count: int = 0
    pulls: list[Pull] = field(default_factory=list)


class JetStream:
    """Streams and consumers. `restart` loses what was in memory, `forget` everything."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.consumers: dict[tuple[str, str], Consumer] = {}
        self.broker: Broker | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.redelivered = 0

    def attach(self, broker: Broker) -> None:
        self.broker = broker
        loop = asyncio.get_running_loop()
        if self._timer is None:
            self._timer = loop.call_later(0.1, self._tick, context=NOBODY)

    def stop(self) -> None:
        self.broker = None

    def restart(self) -> None:
        for name in [n for n, s in self.streams.items() if s.config["storage"] == "memory"]:
            # The stream stands, as its configuration is on disk; its messages do not.
            self.streams[name] = Stream(self.streams[name].config)
        for consumer in self.consumers.values():
            consumer.pulls.clear()

    def forget(self) -> None:
        self.streams.clear()
        self.consumers.clear()

    def keep(self, subject: str, reply: str, payload: bytes) -> bool:
        """Stores it where a stream wants it, and acknowledges it. Whether one did."""
        name = _stream_of(subject)
        stream = self.streams.get(name) if name else None
        if stream is None:
            return False
        now = asyncio.get_running_loop().time()
        stream.forget_old(now)
        config = stream.config
        if config["discard"] == "new":
            of_subject = config.get("max_msgs_per_subject", -1)
            full = stream.size_bytes + len(payload) > config["max_bytes"]
            many = 0 < of_subject <= len(stream.by_subject.get(subject, ()))
            if full or many:
                if reply:
                    said = {"error": {"code": 503, "err_code": 10077, "description": "maximum"}}
                    self._say(reply, said)
                return True
        kept = stream.add(subject, payload, now)
        if reply and not config.get("no_ack"):
            self._say(reply, {"stream": name, "seq": kept.sequence})
        for consumer in self.consumers.values():
            if consumer.stream == name:
                self._serve(consumer)
        return True

    def asked(self, subject: str, reply: str, payload: bytes) -> None:
        words = subject.split(".")
        if words[1] == "ACK":
            self._acked(words, payload)
            return
        match words[2:]:
            case ["STREAM", "INFO", name]:
                kept = self.streams.get(name)
                self._say(reply, {"state": {"last_seq": kept.last if kept else 0}})
            case ["STREAM", "CREATE" | "UPDATE", name]:
                config = json.loads(payload)
                if name not in self.streams:
                    self.streams[name] = Stream(config)
                self._say(reply, {"config": config, "state": _state(self.streams[name])})
            case ["CONSUMER", "DURABLE", "CREATE", stream, name]:
                self._make_consumer(stream, name, json.loads(payload)["config"], reply)
            case ["CONSUMER", "CREATE", stream, name, *_]:
                self._make_consumer(stream, name, json.loads(payload)["config"], reply)
            case ["CONSUMER", "MSG", "NEXT", stream, name]:
                self._pull(stream, name, json.loads(payload), reply)
            case ["DIRECT", "GET", stream]:
                self._get(stream, json.loads(payload), reply)
            case other:
                raise AssertionError(f"JetStream was asked {other}")

    def _make_consumer(self, stream: str, name: str, config: dict[str, Any], reply: str) -> None:
        if stream not in self.streams:
            self._say(
                reply, {"error": {"code": 404, "err_code": 10059, "description": "no stream"}}
            )
            return
        key = (stream, name)
        if key not in self.consumers:
            first = min(self.streams[stream].messages, default=self.streams[stream].last + 1)
            ack_wait = config.get("ack_wait", 30 * NS) / NS
            deliveries = config.get("max_deliver", -1)
            self.consumers[key] = Consumer(stream, name, ack_wait, deliveries, next=first)
        sequences = {"consumer_seq": 0, "stream_seq": 0}
        info = {
            "stream_name": stream,
            "name": name,
            "created": "2026-01-01T12:00:00Z",
            "config": config,
            "delivered": sequences,
            "ack_floor": sequences,
        }
        self._say(reply, info)

    def _pull(self, stream: str, name: str, asked: dict[str, Any], reply: str) -> None:
        consumer = self.consumers.get((stream, name))
        if consumer is None:
            self._status(reply, "503")
            return
        now = asyncio.get_running_loop().time()
        until = now + asked.get("expires", 30 * NS) / NS
        consumer.pulls.append(Pull(reply, asked.get("batch", 1), until, now))
        self._serve(consumer)

    def _serve(self, consumer: Consumer) -> None:
        assert self.broker is not None
        stream = self.streams.get(consumer.stream)
        if stream is None:
            return
        now = asyncio.get_running_loop().time()
        while consumer.pulls:
            pull = consumer.pulls[0]
            if pull.left <= 0 or not self.broker.subjects.match(pull.inbox):
                consumer.pulls.pop(0)
                continue
            sequence = self._next(consumer, stream, now)
            if sequence is None:
                return
            kept = stream.messages[sequence]
            times = consumer.delivered.get(sequence, 0) + 1
            self.redelivered += times > 1
            consumer.delivered[sequence] = times
            consumer.due[sequence] = now + consumer.ack_wait
            consumer.count += 1
            pull.left -= 1
            pull.heard = now
            # Turn about, as the server does between those who wait.
            consumer.pulls.append(consumer.pulls.pop(0))
            stamp = int((START.timestamp() + now) * NS)
            ack = (
                f"$JS.ACK.{consumer.stream}.{consumer.name}.{times}.{sequence}."
                f"{consumer.count}.{stamp}.0"
            )
            self._tell(pull.inbox, kept.subject, ack, kept.payload)

    def _next(self, consumer: Consumer, stream: Stream, now: float) -> int | None:
        for sequence, at in list(consumer.due.items()):
            if sequence not in stream.messages:
                consumer.due.pop(sequence)
                consumer.delivered.pop(sequence, None)
            elif at <= now and 0 < consumer.deliveries_max <= consumer.delivered.get(sequence, 0):
                consumer.due.pop(sequence)  # It stays in the queue, undelivered.
            elif at <= now:
                return sequence
        if len(consumer.due) >= UNACKED_MAX:
            return None
        while consumer.next <= stream.last:
            sequence = consumer.next
            consumer.next += 1
            if sequence in stream.messages:
                return sequence
        return None

    def _acked(self, words: list[str], payload: bytes) -> None:
        # $JS.ACK.stream.consumer.delivered.sequence.…
        consumer = self.consumers.get((words[2], words[3]))
        stream = self.streams.get(words[2])
        sequence = int(words[5])
        if consumer is None or stream is None or sequence not in consumer.delivered:
            return
        if payload.startswith(b"-NAK"):
            delay = json.loads(payload[4:] or b"{}").get("delay", 0) / NS if payload[4:] else 0.0
            consumer.due[sequence] = asyncio.get_running_loop().time() + delay
        elif payload.startswith(b"+WPI"):
            consumer.due[sequence] = asyncio.get_running_loop().time() + consumer.ack_wait
        else:
            consumer.delivered.pop(sequence)
            consumer.due.pop(sequence, None)
            stream.remove(sequence)
        self._serve(consumer)

    def _get(self, name: str, asked: dict[str, Any], reply: str) -> None:
        stream = self.streams.get(name)
        if stream is None:
            # Nobody answers for a stream that is not there.
            self._status(reply, "503")
            return
        stream.forget_old(asyncio.get_running_loop().time())
        wanted, first = asked["next_by_subj"], asked.get("seq") or 1
        of = [name for name in stream.by_subject if _matches(wanted, name)]
        found = sorted(s for name in of for s in stream.by_subject[name] if s >= first)
        if not found:
            self._status(reply, "404", "Message Not Found")
            return
        assert self.broker is not None
        given = found[: asked.get("batch", 1)]
        for sequence in given:
            kept = stream.messages[sequence]
            headers = (
                f"NATS/1.0\r\nNats-Stream: {name}\r\nNats-Subject: {kept.subject}\r\n"
                f"Nats-Sequence: {kept.sequence}\r\n\r\n"
            )
            self.broker.deliver(reply, "", kept.payload, headers.encode())
        if "batch" in asked:
            left = f"Nats-Num-Pending: {len(found) - len(given)}\r\n"
            self._status(reply, "204", "EOB", left)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(IDLE_S / 4, self._tick, context=NOBODY)
        if self.broker is None or self.broker.party.dead or self.broker.party.frozen:
            return
        now = loop.time()
        for consumer in self.consumers.values():
            for pull in list(consumer.pulls):
                if pull.until <= now:
                    consumer.pulls.remove(pull)
                    self._status(pull.inbox, "408", "Request Timeout")
                elif now - pull.heard >= IDLE_S:
                    pull.heard = now
                    self._status(pull.inbox, "100", "Idle Heartbeat")
            self._serve(consumer)

    def _say(self, reply: str, value: dict[str, Any]) -> None:
        if reply:
            assert self.broker is not None
            self.broker.deliver(reply, "", json.dumps(value).encode())

    def _status(self, reply: str, status: str, words: str = "", headers: str = "") -> None:
        assert self.broker is not None
        self.broker.deliver(
            reply, "", b"", f"{f'NATS/1.0 {status} {words}'.rstrip()}\r\n{headers}\r\n".encode()
        )

    def _tell(self, inbox: str, subject: str, ack: str, payload: bytes) -> None:
        """A message of a stream comes to the inbox under its own subject."""
        assert self.broker is not None
        for one in self.broker.subjects.match(inbox):
            one.client.deliver(one, subject, ack, payload, b"")


def _stream_of(subject: str) -> str:
    if not subject.startswith("arc.v1.island."):
        return ""
    kind = subject.split(".")[4]
    return {"report": "REPORTS", "out": "OUTPUT"}.get(kind, "")


def _state(stream: Stream) -> dict[str, Any]:
    return {
        "messages": len(stream.messages),
        "bytes": stream.size_bytes,
        "first_seq": min(stream.messages, default=0),
        "last_seq": stream.last,
        "consumer_count": 1,
    }


def _matches(wanted: str, subject: str) -> bool:
    """Whether a subject is one of those that a filter with wildcards names."""
    tokens = subject.split(".")
    for place, token in enumerate(wanted.split(".")):
        if token == ">":
            return place < len(tokens)
        if place >= len(tokens) or token not in ("*", tokens[place]):
            return False
    return len(wanted.split(".")) == len(tokens)
