"""Client certificates of application entities: fingerprints and last moments, read from PEM."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from catalog.errors import InvalidInput

MOST: Final = 16
_LONGEST_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate as the registry keeps it: SHA-256 fingerprint (hex) and when it ends."""

    fingerprint: str
    ends_at: datetime


def read_certificates(pem: bytes) -> list[Certificate]:
    """Return the certificates of a PEM file. Raises InvalidInput where it holds none, too many, or is something else."""
    try:
        found = x509.load_pem_x509_certificates(pem) if len(pem) <= _LONGEST_BYTES else []
        read = [
            Certificate(each.fingerprint(hashes.SHA256()).hex(), each.not_valid_after_utc) for each in found
        ]
    except ValueError as error:
        raise InvalidInput("不是 PEM 证书", "Not a certificate in PEM", field="certificate") from error
    if not 1 <= len(read) <= MOST:
        raise InvalidInput(
            f"应为 1 到 {MOST} 份 PEM 证书", f"Give 1 to {MOST} certificates in PEM", field="certificate"
        )
    return read
