"""Certificates for tests: an authority of our own, and what it signs."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Credentials:
    """A certificate and its key as PEM files, and the certificate's fingerprint."""

    certificate: Path
    key: Path
    fingerprint: str


class Authority:
    """Signs certificates into a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        signed = self._sign(self._name, self._key.public_key(), 365, authority=True)
        self.itself = self._write(name, signed, self._key)
        self.certificate = self.itself.certificate

    def issue(self, name: str, *, days: int = 30) -> Credentials:
        """Return fresh credentials; a negative number of days has them expired already."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._write(name, self._sign(subject, key.public_key(), days, authority=False), key)

    def revoke(self, *revoked: Credentials) -> Path:
        """Return a revocation list of these."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=self._name, last_update=now - timedelta(days=1), next_update=now + timedelta(days=30)
        )
        for credentials in revoked:
            serial = x509.load_pem_x509_certificate(credentials.certificate.read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=now).build()
            builder = builder.add_revoked_certificate(entry)
        path = self._folder / "revocations.pem"
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path

    def _write(self, name: str, signed: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Credentials:
        made = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        made[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        private = serialization.PrivateFormat.PKCS8
        made[1].write_bytes(
            key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
        )
        return Credentials(*made, signed.fingerprint(hashes.SHA256()).hex())

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int, *, authority: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder(
                issuer_name=self._name,
                subject_name=subject,
                public_key=key,
                serial_number=x509.random_serial_number(),
                not_valid_before=now - timedelta(days=60),
                not_valid_after=now + timedelta(days=days),
            )
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(_names(subject)), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _names(subject: x509.Name) -> list[x509.GeneralName]:
    """Return this machine, and the subject where it is a name of the DNS."""
    name = str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    here: list[x509.GeneralName] = [x509.IPAddress(ip_address("127.0.0.1"))]
    return [*here, x509.DNSName(name)] if "." in name else here
