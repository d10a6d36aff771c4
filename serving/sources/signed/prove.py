"""The process that proves one signature: reads a job on standard input, writes what came of it, and ends.

Only here is `model_signing` imported, which takes half a second and brings much along; and what a signature's
file makes of its parsers stays in this process. Law: `reason` is empty only where one of the trusted keys or
certificates has signed just the files of the folder, no more and no fewer.
"""

import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

KEY, CERTIFICATE = "PUBLIC KEY", "CERTIFICATE"
_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----\n.+?\n-----END \1-----\n?", re.DOTALL)
_MOST_WORDS = 300


def blocks(pem: str) -> list[tuple[str, str]]:
    """Kind and text of each block of a PEM file."""
    return [(found[1], found[0]) for found in _BLOCK.finditer(pem.replace("\r\n", "\n"))]


def main() -> None:
    """One job: `folder`, `signature` (paths) and `trusted` (PEM); one answer: `signer` and `reason`."""
    job = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as scratch:
        answer = _prove(Path(job["folder"]), Path(job["signature"]), job["trusted"], Path(scratch))
    sys.stdout.write(json.dumps(answer))


def _prove(folder: Path, signature: Path, trusted: str, scratch: Path) -> dict[str, str]:
    from model_signing import verifying  # noqa: PLC0415  (its absence is an answer)

    configured: Any = verifying.Config  # untyped
    found = blocks(trusted)
    ways: list[tuple[str, Any]] = []
    problems: list[str] = []
    for number, text in enumerate(text for kind, text in found if kind == KEY):
        path = scratch / f"{number}.pem"
        path.write_text(text)
        try:
            ways.append((_key_name(text), configured().use_elliptic_key_verifier(public_key=path)))
        except ValueError as error:
            problems.append(f"a trusted key cannot be used: {error}")
    certificates = "".join(text for kind, text in found if kind == CERTIFICATE)
    if certificates:
        path = scratch / "certificates.pem"
        path.write_text(certificates)
        config = configured().use_certificate_verifier(certificate_chain=[path])
        ways.append(("a certificate that is vouched for", config))
    others = ""
    for name, way in ways:
        try:
            way.verify(folder, signature)
        except Exception as error:  # noqa: BLE001  (a signature that cannot be read raises anything)
            if str(error).startswith("Signature mismatch"):
                others = f"{name} has signed other files: {error}"
            continue
        return {"signer": name, "reason": ""}
    reason = others or "; ".join([*problems, "it is signed by none of those that are trusted"])
    return {"signer": "", "reason": reason[:_MOST_WORDS]}


def _key_name(pem: str) -> str:
    """As `openssl pkey -pubin -outform DER | sha256sum` begins."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    key = serialization.load_pem_public_key(pem.encode())
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"the key {hashlib.sha256(der).hexdigest()[:16]}"
