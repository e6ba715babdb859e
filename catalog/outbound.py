"""Connections this service makes of itself, to addresses that others gave it: only where it was allowed to.

A target is a host of the list and an address that is public, or lies in a network of the list. The address that was
checked is the one connected to, with the name in SNI and Host: a second answer of the DNS changes nothing. No
redirect is followed, no proxy of the environment is used, nothing of an answer is read but its status.
"""

import http.client
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from catalog.errors import InvalidInput

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Iterable[str]]

LONGEST_URL: Final = 2048
_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)
_PATH: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*")
_PORTS: Final = {"https": 443, "http": 80}
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_PROTOCOLS: Final = ipaddress.IPv4Network("192.0.0.0/24")  # RFC 6890; Python 3.11 has most of it public
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")


class TargetRefused(InvalidInput):
    """This service does not connect there; `code` says why."""

    code = "target_refused"


class DeliveryFailed(Exception):
    """Nothing was delivered; `reason` is a code that repeats nothing the other side said."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _resolve(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


@dataclass(frozen=True, slots=True)
class Outbound:
    """Where this service may connect of itself: `hosts` as "name" or "name:port", `networks` besides public ones."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    https_only: bool = True
    seconds: float = 10.0
    resolve: Resolve = field(default=_resolve, repr=False)
    trust: ssl.SSLContext | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """An address that is well formed and on the list of hosts."""

    scheme: str
    host: str
    port: int
    path: str


def target_of(outbound: Outbound, url: str) -> Target:
    """Return what a URL names, if its host is on the list. Raises TargetRefused."""
    scheme, _, rest = url.partition("://")
    scheme, authority = scheme.lower(), re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    if scheme not in _PORTS or (outbound.https_only and scheme != "https"):
        raise _refused("scheme", "地址须为 https", "The address must be https")
    if len(url) > LONGEST_URL or not _PATH.fullmatch(path):
        raise _refused("malformed", "地址格式不正确", "The address is malformed")
    host, port = _authority(authority, _PORTS[scheme])
    if not {host if port == _PORTS[scheme] else "", f"{host}:{port}"} & outbound.hosts:
        raise _refused("host", "该主机不在允许名单内", "The host is not on the list of those allowed")
    return Target(scheme, host, port, path if path.startswith("/") else "/" + path)


def post(outbound: Outbound, target: Target, headers: Mapping[str, str], body: bytes) -> int:
    """Send a body and return the status of the answer, within the time allowed.

    Raises TargetRefused where an address of the host is one that is not allowed, DeliveryFailed where nobody answers.
    """
    address = _allowed_address(outbound, target)
    connection = _Pinned(target, address, outbound)
    watchdog = threading.Timer(outbound.seconds, connection.cut)
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request("POST", target.path, body, {**headers, "Connection": "close"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DeliveryFailed(_reason(error, cut=connection.is_cut)) from error
    finally:
        watchdog.cancel()
        connection.close()


class _Pinned(http.client.HTTPConnection):
    """A connection to the address that was checked, in the name of the host."""

    def __init__(self, target: Target, address: Address, outbound: Outbound) -> None:
        super().__init__(target.host, target.port, timeout=outbound.seconds)
        self.default_port = _PORTS[target.scheme]  # so that Host names a port only where it is another
        self.is_cut = False
        self._address = str(address)
        self._tls = (outbound.trust or ssl.create_default_context()) if target.scheme == "https" else None

    def connect(self) -> None:
        """Connect to the checked address; the name is only for SNI and the certificate."""
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._tls is not None:
            secure = self._tls.wrap_socket(
                self.sock, server_hostname=self.host.strip("[]"), do_handshake_on_connect=False
            )
            self.sock = secure  # before the handshake, so that it can be cut as well
            secure.do_handshake()

    def cut(self) -> None:
        """End a connection whose other side takes too long, whatever it is waiting for."""
        self.is_cut = True
        if self.sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


def _reason(error: Exception, *, cut: bool) -> str:
    if cut or isinstance(error, TimeoutError):
        return "timeout"
    return "tls" if isinstance(error, ssl.SSLError) else "no_answer"


def _authority(text: str, usual_port: int) -> tuple[str, int]:
    """Return host and port. Raises TargetRefused for user names, odd writings and anything beside them."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port if parts.port is not None else usual_port
    except ValueError as error:
        raise _refused("malformed", "地址格式不正确", "The address is malformed") from error
    literal = _literal(host)
    written = f"[{host}]" if literal is not None and literal.version == 6 else host
    if text.lower() not in (written, f"{written}:{port}") or not 0 < port < 1 << 16:
        raise _refused("malformed", "地址格式不正确", "The address is malformed")
    if literal is None and not _HOST.fullmatch(host):
        raise _refused("malformed", "主机名格式不正确", "The host name is malformed")
    return (written if literal is not None else host), port


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _allowed_address(outbound: Outbound, target: Target) -> Address:
    """Return the first address of the host; all of them must be allowed, or the name is not to be trusted."""
    literal = _literal(target.host.strip("[]"))
    try:
        texts = [str(literal)] if literal is not None else list(outbound.resolve(target.host, target.port))
        found = [ipaddress.ip_address(text) for text in texts]
    except (OSError, ValueError, UnicodeError) as error:
        raise DeliveryFailed("unknown_host") from error
    if not found:
        raise DeliveryFailed("unknown_host")
    if not all(_is_allowed(outbound, address) for address in found):
        raise _refused("address", "该主机的地址不允许连接", "The host's address is not one to connect to")
    return found[0]


def _is_allowed(outbound: Outbound, address: Address) -> bool:
    if any(address in network for network in outbound.networks if network.version == address.version):
        return True
    special = address.is_multicast or address.is_reserved or address in _PROTOCOLS
    return address.is_global and not special and not _carries(address)


def _carries(address: Address) -> bool:
    """Say whether an IPv6 address carries an IPv4 one (mapped, compatible, 6to4, Teredo, NAT64), which may be any."""
    if isinstance(address, ipaddress.IPv4Address):
        return False
    inside = (address in network for network in (*_NAT64, _COMPATIBLE))
    return bool(address.ipv4_mapped or address.sixtofour or address.teredo) or any(inside)


def _refused(why: str, zh: str, en: str) -> TargetRefused:
    return TargetRefused(zh, en, field="url", code=f"target_{why}")
