"""The JSON shapes of workloads, submissions and the keys that they are signed with."""

from __future__ import annotations

from typing import Final

from archipelag_coordinator.apps.api.schemas import (
    ANYTHING,
    CREDITS,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Schema,
    data,
    many,
    maybe,
    one_of,
    shape,
)
from archipelag_coordinator.domain.review import CHECKS

WORKLOAD: Final[dict[str, Schema]] = {
    "id": WHOLE,
    "name": TEXT,
    "slug": TEXT,
    "description": TEXT,
    "version": TEXT,
    "license": TEXT,
    "kind": TEXT,
    "runtime_type": one_of("container", "wasm"),
    "runtime": TEXT,
    "model": maybe(TEXT),
    "required_vram_mb": WHOLE,
    "required_ram_mb": WHOLE,
    "price_per_job": CREDITS,
    "price": shape({"per_job": CREDITS, "per_prompt_token": CREDITS, "per_output_item": CREDITS}),
    "publisher": shape({"id": maybe(TEXT), "fingerprint": maybe(TEXT), "public_key": maybe(TEXT)}),
    "trust": {"type": "integer", "minimum": 0, "maximum": 3},
    "tier": one_of("restricted", "standard", "elevated"),
    "image": maybe(TEXT),
    "input_schema": maybe(ANYTHING),
    "example": maybe(ANYTHING),
    "output_items_max": WHOLE,
    "seconds_max": WHOLE,
    "digest": TEXT,
    "is_enabled": TRUTH,
    "created_at": TIME,
}
_SUBMISSION: Final[dict[str, Schema]] = {
    "status": one_of("submitted", "verified", "listed", "withdrawn", "rejected", "revoked"),
    "reference": maybe(TEXT),
    "checks": many(shape({"name": TEXT, "passed": TRUTH, "said": maybe(TEXT)})),
    "reason": maybe({"type": "string", "description": "Why it was turned away or stopped"}),
    "reviewed_at": maybe(TIME),
}
_BASE64: Final[Schema] = {"type": "string", "contentEncoding": "base64"}
PUBLISHING: Final[dict[str, Schema]] = {
    "CargoRequest": shape(
        {
            "reference": {
                "type": "string",
                "description": "host/repository@sha256:… of the Cargo's artifact",
            },
            "manifest": _BASE64 | {"description": "Canonical bytes"},
            "payload": _BASE64 | {"description": "cosign's simple signing document"},
            "signature": _BASE64,
            "public_key": {"type": "string", "description": "P-256, PEM"},
        },
        closed=True,
    ),
    "ChecksRequest": shape(
        {
            "checks": many(shape({"name": one_of(*CHECKS), "passed": TRUTH, "said": TEXT}, "said")),
            "sbom": maybe(ANYTHING),
        },
        "sbom",
        closed=True,
    ),
    "ApproveRequest": shape(
        {"trust": {"type": "integer", "minimum": 0, "maximum": 3}}, closed=True
    ),
    "ReasonRequest": shape(
        {"reason": {"type": "string", "minLength": 1, "maxLength": 500}}, closed=True
    ),
    "CargoAnswer": data(shape(WORKLOAD | _SUBMISSION)),
    "CargoList": data(many(shape(WORKLOAD | _SUBMISSION))),
}
SIGNING_KEYS: Final = data(
    many(
        shape(
            {
                "use": one_of("publisher", "catalogue"),
                "algorithm": one_of("ed25519", "ecdsa-p256"),
                "public_key": {
                    "type": "string",
                    "description": "Base64 of Ed25519's 32 bytes, PEM of P-256",
                },
                "fingerprint": TEXT,
            },
            "fingerprint",
        )
    )
)
