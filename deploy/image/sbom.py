"""Lists what is in the image, as CycloneDX: `sbom.py WHEELS WHEEL STATUS`, run by the Dockerfile.

WHEELS is the folder of the wheels that were installed, WHEEL that of the package itself, STATUS dpkg's status
of the image. What is listed comes from these, so the hashes are those of the very wheels.
"""

import hashlib
import platform
import sys
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesHeaderParser, HeaderParser
from pathlib import Path
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

LICENSES: Final = LicenseFactory()
CLASSIFIER: Final = "License :: OSI Approved :: "
LONGEST: Final = 100
"""Characters of a licence's name; some packages have its whole text there."""


def bom(wheels: Path, wheel: Path, status: Path) -> Bom:
    """All of it: the package itself, what it needs, Python, and what Debian brings."""
    itself = _distribution(wheel, ComponentType.APPLICATION)
    needed = [_distribution(each) for each in sorted(wheels.glob("*.whl"))]
    made = Bom(components=[*needed, _python(), *_debian(status)])
    made.metadata.component = itself
    made.register_dependency(itself, made.components)
    return made


def _distribution(wheel: Path, kind: ComponentType = ComponentType.LIBRARY) -> Component:
    metadata = _metadata(wheel)
    name, version = metadata["Name"], metadata["Version"]
    return Component(
        type=kind,
        name=name,
        version=version,
        purl=PackageURL("pypi", name=name, version=version),
        bom_ref=f"pypi/{name}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(wheel.read_bytes()).hexdigest())],
        licenses=_licenses(metadata),
    )


def _metadata(wheel: Path) -> Message:
    folder = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    with zipfile.ZipFile(wheel) as files:
        return BytesHeaderParser().parsebytes(files.read(f"{folder}/METADATA"))


def _licenses(metadata: Message) -> list[License]:
    """As the package states it: an SPDX expression, else a name, else what its classifiers say."""
    stated = metadata["License-Expression"] or metadata["License"] or ""
    if stated and len(stated) <= LONGEST and "\n" not in stated:
        return [LICENSES.make_from_string(stated)]
    classifiers = metadata.get_all("Classifier", ())
    return [
        LICENSES.make_with_name(text.removeprefix(CLASSIFIER))
        for text in classifiers
        if text.startswith(CLASSIFIER)
    ]


def _python() -> Component:
    version = platform.python_version()
    return Component(
        type=ComponentType.PLATFORM,
        name="python",
        version=version,
        purl=PackageURL("generic", name="python", version=version),
        bom_ref="python",
    )


def _debian(status: Path) -> Iterator[Component]:
    release = platform.freedesktop_os_release()
    for text in status.read_text().strip().split("\n\n"):
        package = HeaderParser().parsestr(text)
        if package["Status"].endswith(" installed"):
            name, version = package["Package"], package["Version"]
            at = {"arch": package["Architecture"], "distro": f"{release['ID']}-{release['VERSION_ID']}"}
            yield Component(
                name=name,
                version=version,
                purl=PackageURL("deb", release["ID"], name, version, at),
                bom_ref=f"deb/{name}:{package['Architecture']}",
            )


if __name__ == "__main__":
    sys.stdout.write(JsonV1Dot6(bom(*map(Path, sys.argv[1:]))).output_as_string(indent=1))
