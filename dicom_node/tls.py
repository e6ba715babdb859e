"""TLS for associations: the BCP 195 profile with mutual authentication (PS3.15 Annex B.12)."""

import hashlib
import socket
import ssl
from collections.abc import Collection
from typing import Final

from catalog.errors import InvalidInput
from dicom_node.settings import NodeSettings

# TLS 1.2 with forward secrecy and authenticated encryption only; TLS 1.3 has nothing else (RFC 9325 §4.2).
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


def open_context(settings: NodeSettings) -> ssl.SSLContext | None:
    """Return the server's context, or None where no certificate is named: then there is no TLS.

    Raises InvalidInput where a file is missing, unreadable or does not fit the others.
    """
    if settings.tls_certificate is None:
        return None
    if settings.tls_key is None or settings.tls_authorities is None:
        raise InvalidInput(
            "启用 TLS 须同时设置证书、私钥和签发机构",
            "TLS needs HUREN_DICOM_TLS_CERTIFICATE, _KEY and _AUTHORITIES together",
            field="tls_certificate",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
        context.load_verify_locations(settings.tls_authorities)
        if settings.tls_revocations is not None:
            context.load_verify_locations(settings.tls_revocations)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(
            "TLS 证书文件无法使用",
            f"the TLS files cannot be used: {type(error).__name__}",
            field="tls_certificate",
        ) from error
    return context


def secure(sock: socket.socket, context: ssl.SSLContext, seconds: float) -> tuple[ssl.SSLSocket, str]:
    """Shake hands within so many seconds in all; gives the secured socket and the peer's fingerprint.

    Raises OSError (ssl.SSLError, TimeoutError) where the peer is too slow or does not prove itself; the socket
    is closed then.
    """
    closing = sock
    try:
        closing = secured = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        secured.settimeout(seconds)
        secured.do_handshake()
        certificate = secured.getpeercert(binary_form=True)
        if certificate is None:
            raise ssl.SSLError("no certificate")
    except OSError:
        closing.close()
        raise
    return secured, fingerprint(certificate)


class OutboundTls:
    """TLS for associations that we open, with the same files as the server's.

    Raises InvalidInput as `open_context`.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self._named = _calling_context(settings)
        self._pinned = _calling_context(settings)
        self._pinned.check_hostname = (
            False  # a registered certificate is proof enough, whatever name it bears
        )

    def secure(self, sock: socket.socket, host: str, fingerprints: Collection[str]) -> ssl.SSLSocket:
        """Shake hands with a peer that proves to be one of the fingerprints; to be that host, without any.

        Raises OSError (ssl.SSLError) where it does not; the socket is closed then.
        """
        context, closing = self._pinned if fingerprints else self._named, sock
        try:
            closing = secured = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            secured.do_handshake()
            certificate = secured.getpeercert(binary_form=True)
            if fingerprints and (certificate is None or fingerprint(certificate) not in fingerprints):
                raise ssl.SSLError("another certificate than the registered ones")
        except OSError:
            closing.close()
            raise
        return secured


def open_outbound(settings: NodeSettings) -> OutboundTls | None:
    """Return TLS for associations that we open, or None where no certificate is named. Raises InvalidInput."""
    return None if open_context(settings) is None else OutboundTls(settings)


def _calling_context(settings: NodeSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.tls_authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    if settings.tls_certificate is not None:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    if settings.tls_revocations is not None:
        context.load_verify_locations(settings.tls_revocations)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def fingerprint(certificate: bytes) -> str:
    """Return the SHA-256 fingerprint (hex) of a certificate in DER."""
    return hashlib.sha256(certificate).hexdigest()
