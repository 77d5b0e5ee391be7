"""Errors of the contracts.

ContractError
├── BadId            an identifier of the wrong shape
├── BadManifest      a manifest that cannot be accepted; `problems` lists every reason
├── BadMessage       bytes that are not the message they should be
└── BadSignature     a signature that does not hold, or a key that is not trusted
"""

from __future__ import annotations


class ContractError(Exception):
    """Something from another machine broke an agreement."""

    code = "contract_error"


class BadId(ContractError, ValueError):
    code = "bad_id"


class BadManifest(ContractError, ValueError):
    code = "bad_manifest"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class BadMessage(ContractError, ValueError):
    code = "bad_message"


class BadSignature(ContractError):
    code = "bad_signature"
