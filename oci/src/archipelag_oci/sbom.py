"""What an image is made of, as SPDX 2.3: Python packages, Debian packages, and how many files there are."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Final

METADATA_BYTES_MAX: Final = 1 << 20
STATUS_BYTES_MAX: Final = 64 << 20
PACKAGES_MAX: Final = 20_000
NONE: Final = "NOASSERTION"

_STATUS: Final = "var/lib/dpkg/status"
_STATUS_FOLDER: Final = "var/lib/dpkg/status.d"
_SPDX: Final = re.compile(r"[A-Za-z0-9.+() -]{1,200}")
_CLASSIFIERS: Final = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
_SPOKEN: Final = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "mit license": "MIT",
}


@dataclass(frozen=True, order=True)
class Package:
    kind: str
    """`pypi` or `deb`, as package URLs write it."""
    name: str
    version: str
    license: str
    """An SPDX expression, or `NOASSERTION` where none can be told."""


@dataclass(frozen=True)
class Contents:
    packages: tuple[Package, ...]
    files: int
    bytes: int

    @property
    def licenses(self) -> tuple[str, ...]:
        """Each once; what a reviewer reads first."""
        return tuple(sorted({package.license for package in self.packages}))


def look_into(root: Path) -> Contents:
    """Of an unpacked root, which may be hostile: no link is followed, and what is read is bounded."""
    found: set[Package] = set()
    files = size = 0
    for folder, name, entry in _walk(root):
        files += 1
        size += entry.st_size
        if name == "METADATA" and folder.suffix == ".dist-info":
            found.update(_python(_read(folder / name, METADATA_BYTES_MAX)))
        if len(found) > PACKAGES_MAX:
            break
    if _within(root, _STATUS):
        found.update(_debian(_read(root / _STATUS, STATUS_BYTES_MAX)))
    if _within(root, _STATUS_FOLDER):
        # As images without a package tool keep it: one file a package.
        for path in sorted((root / _STATUS_FOLDER).iterdir()):
            if not path.name.endswith(".md5sums"):
                found.update(_debian(_read(path, METADATA_BYTES_MAX)))
    return Contents(tuple(sorted(found)[:PACKAGES_MAX]), files, size)


def spdx(contents: Contents, name: str, digest: str, created: str) -> dict[str, Any]:
    """The document for an image; `created` is a time as `2026-01-31T12:00:00Z`."""
    image = {
        "SPDXID": "SPDXRef-Image",
        "name": name,
        "downloadLocation": NONE,
        "filesAnalyzed": False,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": digest.removeprefix("sha256:")}],
        "comment": f"{contents.files} files, {contents.bytes} bytes",
    }
    packages = [_spdx(package) for package in contents.packages]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://spdx.org/spdxdocs/archipelag-{digest.removeprefix('sha256:')}",
        "creationInfo": {"created": created, "creators": ["Tool: archipelag-oci"]},
        "packages": [image, *packages],
        "relationships": [
            _relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"),
            *(_relation("SPDXRef-Image", "CONTAINS", each["SPDXID"]) for each in packages),
        ],
    }


def _walk(root: Path) -> Iterator[tuple[Path, str, os.stat_result]]:
    for folder, _folders, names in os.walk(root, followlinks=False):
        for name in sorted(names):
            path = Path(folder) / name
            entry = path.lstat()
            if stat.S_ISREG(entry.st_mode):
                yield Path(folder), name, entry


def _within(root: Path, inner: str) -> bool:
    """Whether it is there, and no part of the way is a link."""
    path = root
    for part in inner.split("/"):
        path /= part
        if path.is_symlink():
            return False
    return path.exists()


def _read(path: Path, bytes_max: int) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        return file.read(bytes_max).decode(errors="replace")


def _python(text: str) -> Iterator[Package]:
    head = HeaderParser().parsestr(text.partition("\n\n")[0])
    name, version = head.get("Name", ""), head.get("Version", "")
    if name and version:
        yield Package("pypi", _plain(name), _plain(version), _python_license(head))


def _python_license(head: Message) -> str:
    """The expression, if there is one; else the classifier; else what is written, if it can be nothing else."""
    if expression := head.get("License-Expression", "").strip():
        return expression if _SPDX.fullmatch(expression) else NONE
    for line in head.get_all("Classifier", []):
        known = _CLASSIFIERS.get(line.rpartition(" :: ")[2].strip())
        if known and line.startswith("License"):
            return known
    spoken = head.get("License", "").strip()
    if spoken.lower() in _SPOKEN:
        return _SPOKEN[spoken.lower()]
    return spoken if re.fullmatch(r"[A-Za-z0-9.+-]{2,40}", spoken) else NONE


def _debian(text: str) -> Iterator[Package]:
    for paragraph in text.split("\n\n"):
        head = HeaderParser().parsestr(paragraph.strip("\n"))
        name, version = head.get("Package", ""), head.get("Version", "")
        installed = head.get("Status", "install ok installed").endswith(" installed")
        if name and version and installed:
            yield Package("deb", _plain(name), _plain(version), NONE)


def _spdx(package: Package) -> dict[str, Any]:
    named = f"{package.kind}/{package.name}@{package.version}"
    return {
        "SPDXID": "SPDXRef-Package-" + hashlib.sha256(named.encode()).hexdigest()[:16],
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": NONE,
        "filesAnalyzed": False,
        "licenseConcluded": NONE,
        "licenseDeclared": package.license,
        "copyrightText": NONE,
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": _purl(package),
            }
        ],
    }


def _purl(package: Package) -> str:
    if package.kind == "deb":
        return f"pkg:deb/debian/{package.name}@{package.version}"
    return f"pkg:pypi/{re.sub(r'[-_.]+', '-', package.name).lower()}@{package.version}"


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _plain(text: str) -> str:
    return "".join(c for c in text.strip() if c.isprintable())[:200]
