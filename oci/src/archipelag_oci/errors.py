"""Errors of the OCI formats and registries. `code` is stable; the text says what to do.

OciError
├── BadReference          not `host/path@sha256:…` or `host/path:tag`
├── BadDocument           a manifest, index, config or layout that is not what it claims
├── NoPlatform            an index without an image for this machine
├── TooLarge              more bytes, files or layers than there may be
├── UnsafeLayer           a layer that tries to leave its root, or holds what no image needs
├── NotSigned             no trusted key has signed this digest
├── DiskFull              no room here; nothing half-written is left
├── CacheFull             the cache's bound leaves no room beside what is pinned
├── BuildFailed           an image could not be made of these files
└── RegistryFailed
    ├── RegistryUnreachable   no connection, or no byte for too long; try again later
    ├── NotInRegistry         there is no such repository, tag or digest
    ├── AccessDenied          wrong credentials, or none
    ├── RegistryRefused       another status that trying again will not change
    └── RegistryLied          what it sent is not what it announced
        ├── WrongDigest
        └── WrongSize
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final


class OciError(Exception):
    """Something expected went wrong; the code is stable."""

    code: ClassVar[str] = "oci_error"


class BadReference(OciError, ValueError):
    code = "bad_reference"


class BadDocument(OciError, ValueError):
    code = "bad_document"


class NoPlatform(OciError):
    code = "no_platform"


class TooLarge(OciError):
    code = "too_large"


class UnsafeLayer(OciError):
    code = "unsafe_layer"


class NotSigned(OciError):
    code = "not_signed"


class DiskFull(OciError):
    code = "disk_full"


class CacheFull(OciError):
    code = "cache_full"


class BuildFailed(OciError):
    code = "build_failed"


class RegistryFailed(OciError):
    code = "registry_failed"


class RegistryUnreachable(RegistryFailed):
    code = "registry_unreachable"


class NotInRegistry(RegistryFailed):
    code = "not_in_registry"


class AccessDenied(RegistryFailed):
    code = "access_denied"


class RegistryRefused(RegistryFailed):
    code = "registry_refused"


class RegistryLied(RegistryFailed):
    code = "registry_lied"


class WrongDigest(RegistryLied):
    code = "wrong_digest"


class WrongSize(RegistryLied):
    code = "wrong_size"


def is_full(error: OSError) -> bool:
    return error.errno in _FULL


_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def disk_full_is_told(place: Path) -> Iterator[None]:
    """Turns the system's word for a full disk into a sentence for the owner of the machine."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise DiskFull(f"no room in {place} ({error.strerror}): free some space there") from error
