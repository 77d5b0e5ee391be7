"""Golden vectors for every language: messages, signatures, manifests and hash chains; run it to write them anew.

A vector that changes means that machines of two versions no longer agree. The key is a test key, known to everyone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from archipelag_contracts.manifest import parse_toml
from archipelag_contracts.pb.archipelag.v1 import (
    cargo_pb2,
    common_pb2,
    enrolment_pb2,
    island_pb2,
    job_pb2,
)
from archipelag_contracts.signing import SigningKey, chain
from archipelag_contracts.week import packed_hours
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

FOLDER = Path(__file__).parent / "vectors"
SEED = bytes(range(32))
JOB = "job_01jd00000000000000000000ab"
ISLAND = "isl_01jd00000000000000000000cd"
RELAY = "rly_01jd00000000000000000000ef"
DIGEST = "sha256:" + "ab" * 32

MANIFEST = """\
slug = "echo"
version = "1.2.3"
name = "Écho “海”"
description = "Says it again."
license = "Apache-2.0"
kind = "chat"
runtime = "native"
engine = "echo"
resumable = true
[model]
name = "m"
file = "m.gguf"
sha256 = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
[price]
output_item_ucredits = 100
"""

CHAINS: dict[str, list[tuple[str, int]]] = {
    "empty": [],
    "one": [("a", 1)],
    "an item without text": [("", 0)],
    "text of many bytes": [("é", 7), ("海", 4294967295), ("😀", 0)],
    "order matters": [("b", 2), ("a", 1)],
}


def messages() -> dict[str, Message]:
    """One of each kind that travels, with its telling fields set."""
    return _of_jobs() | _of_islands()


def _of_jobs() -> dict[str, Message]:
    usage = common_pb2.Usage(prompt_tokens=12, output_items=3, cpu_ms=40, wall_ms=50)
    return {
        "assignment": job_pb2.Assignment(
            job_id=JOB,
            epoch=2,
            island_id=ISLAND,
            cargo_slug="echo",
            cargo_digest=DIGEST,
            input=b'{"prompt":"hi"}',
            issued_at_ms=1_700_000_000_000,
            lease_ms=60_000,
            deadline_ms=300_000,
            relay=RELAY,
            first_position=2,
            resume_tokens=[5, 300],
            resume_texts=["a", "é"],
            output_items_max=64,
            output_bytes_max=65_536,
        ),
        "assignment_reply_refused": job_pb2.AssignmentReply(
            refusal=job_pb2.Refusal(code=job_pb2.Refusal.CODE_NO_SLOT, reason="no slot is free")
        ),
        "assignment_reply_full": job_pb2.AssignmentReply(
            refusal=job_pb2.Refusal(code=job_pb2.Refusal.CODE_NO_SLOT, reason="no slot is free"),
            room=job_pb2.Room(),
        ),
        "assignment_reply_accepted": job_pb2.AssignmentReply(
            accepted=True, room=job_pb2.Room(slots_free=3, cargo_slots_free=1)
        ),
        "chunk": job_pb2.Chunk(first=2, texts=["海", ""], tokens=[7, 4_294_967_295]),
        "chunk_keep_alive": job_pb2.Chunk(),
        "chunk_end": job_pb2.Chunk(
            end=job_pb2.End(
                cause=common_pb2.CAUSE_COMPLETED, finish_reason="stop", next=4, usage=usage
            )
        ),
        "report": job_pb2.Report(
            job_id=JOB,
            epoch=2,
            island_id=ISLAND,
            cargo_digest=DIGEST,
            cause=common_pb2.CAUSE_COMPLETED,
            finish_reason="stop",
            first_position=2,
            next_position=4,
            usage=usage,
            input_sha256=bytes(32),
            output_chain=chain([("海", 7)]),
            texts=["海"],
            tokens=[7],
        ),
        "cancel": job_pb2.Cancel(job_id=JOB, epoch=2, island_id=ISLAND, reason="asked"),
    }


def _of_islands() -> dict[str, Message]:
    held = island_pb2.HeldAttempt(
        job_id=JOB, epoch=2, state=island_pb2.HeldAttempt.STATE_RUNNING, next_position=7
    )
    cargo = island_pb2.CargoState(
        slug="echo",
        digest=DIGEST,
        state=island_pb2.CargoState.STATE_WARM,
        items_per_s=42.5,
        slots=2,
    )
    return {
        "heartbeat": island_pb2.Heartbeat(
            island_id=ISLAND, sequence=9, boot_id="b", cargos=[cargo], slots=2, held=[held]
        ),
        "heartbeat_of_a_class": island_pb2.Heartbeat(
            island_id=ISLAND,
            cargos=[island_pb2.CargoState(slug="echo", digest=DIGEST, determinism_class="echo-1")],
        ),
        "heartbeat_reply": island_pb2.HeartbeatReply(
            next_interval_ms=10_000,
            forget=[island_pb2.AttemptRef(job_id=JOB, epoch=1)],
            accepts_work=True,
            sequence=9,
            island_id=ISLAND,
        ),
        "wishes": island_pb2.Wishes(
            island_id=ISLAND,
            version=1_700_000_000_000,
            draining=True,
            hours=packed_hours(0xFF << 160 | 1),
            least_prices=[island_pb2.LeastPrice(cargo_slug="echo", output_item_ucredits=120)],
        ),
        "challenge": enrolment_pb2.ChallengeReply(nonce=b"nonce", at_ms=1767268800000),
        "enrol": enrolment_pb2.EnrolRequest(
            pairing_code="ABC234",
            public_key=SigningKey.from_seed(SEED).public,
            name="tern",
            capabilities=common_pb2.Capabilities(os="linux", cores=4, engines=["echo"]),
            nonce=b"nonce",
        ),
        "run_request": cargo_pb2.RunRequest(run_id="r", input=b"{}", output_items_max=8),
        "run_event": cargo_pb2.RunEvent(prompt_tokens=3, first=0, texts=["a"], tokens=[1]),
    }


def made() -> dict[str, Any]:
    """Every file of vectors: name → content."""
    key = SigningKey.from_seed(SEED)
    manifest = parse_toml(MANIFEST)
    return {
        "messages": {
            name: {
                "type": message.DESCRIPTOR.full_name,
                "hex": message.SerializeToString(deterministic=True).hex(),
                "json": MessageToDict(message, preserving_proto_field_name=True),
            }
            for name, message in messages().items()
        },
        "signatures": {
            "seed": SEED.hex(),
            "public_key": key.public.hex(),
            "signed": {
                name: {
                    "prefix": f"{message.DESCRIPTOR.full_name}\n",
                    "signature": key.sign(
                        f"{message.DESCRIPTOR.full_name}\n".encode(),
                        message.SerializeToString(deterministic=True),
                    ).hex(),
                    "sealed": key.seal(message).hex(),
                }
                for name, message in messages().items()
            },
        },
        "manifests": {
            "echo": {
                "toml": MANIFEST,
                "canonical": manifest.canonical().decode(),
                "digest": manifest.digest,
            }
        },
        "chains": {
            name: {"items": [list(item) for item in items], "chain": chain(items).hex()}
            for name, items in CHAINS.items()
        },
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, content in made().items():
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
