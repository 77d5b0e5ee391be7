"""AWS Signature Version 4 for requests without a body in the query: what S3 and its like ask for."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final
from urllib.parse import quote

ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Access:
    """Who asks, and where the bucket is."""

    key_id: str
    secret: str = field(repr=False)
    region: str


def signed(
    access: Access,
    method: str,
    host: str,
    path: str,
    query: Mapping[str, str],
    body: bytes,
    now: datetime,
) -> dict[str, str]:
    """The headers of this request. `path` is as it is sent, percent-encoded."""
    at = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{at[:8]}/{access.region}/s3/aws4_request"
    body_sum = sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": body_sum, "x-amz-date": at}
    names = ";".join(sorted(headers))
    request = "\n".join(
        [
            method,
            path,
            encoded(query),
            "".join(f"{name}:{headers[name]}\n" for name in sorted(headers)),
            names,
            body_sum,
        ]
    )
    to_sign = "\n".join([ALGORITHM, at, scope, sha256(request.encode()).hexdigest()])
    key = f"AWS4{access.secret}".encode()
    for part in (at[:8], access.region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    authorization = (
        f"{ALGORITHM} Credential={access.key_id}/{scope}, SignedHeaders={names}, "
        f"Signature={signature}"
    )
    return headers | {"authorization": authorization}


def encoded(query: Mapping[str, str]) -> str:
    """A query as it is signed and sent."""
    pairs = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items()
    )
    return "&".join(f"{name}={value}" for name, value in pairs)
