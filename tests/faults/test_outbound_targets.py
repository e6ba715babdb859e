"""FAULTS A8: addresses that others gave; the service connects to none that it was not allowed to.

Real listeners stand at the forbidden places, and every trick aims at one of them: none may ever be connected to.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.outbound import DeliveryFailed, Outbound, TargetRefused, post, target_of
from tests.certificates import Authority
from tests.listener import Listener

HOST = "hooks.a.example"


@pytest.fixture
def forbidden() -> Iterator[list[Listener]]:
    """Listeners on every forbidden place this machine has, all on one port."""
    with ExitStack() as stack:
        first = stack.enter_context(Listener("127.0.0.1"))
        found = [first]
        for address in ("127.0.0.2", "127.255.255.254", "::1", *_own_addresses()):
            with suppress(OSError):
                found.append(stack.enter_context(Listener(address, port=first.port)))
        yield found


def _own_addresses() -> list[str]:
    """Return the private or link-local addresses of this machine's other interfaces."""
    with suppress(OSError):
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None)})
    return []


def allowed(port: int, **more: object) -> Outbound:
    """Return an Outbound with one host on its list, on any port a test needs."""
    hosts = frozenset({HOST, f"{HOST}:{port}"})
    return replace(Outbound(hosts=hosts, https_only=False, seconds=3), **more)  # type: ignore[arg-type]


def attempt(outbound: Outbound, url: str) -> str:
    """Return how an attempt ended: a status, or the code of its refusal or failure."""
    try:
        return str(post(outbound, target_of(outbound, url), {}, b"{}"))
    except TargetRefused as refused:
        return refused.code
    except DeliveryFailed as failed:
        return failed.reason


WRITTEN = (
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://localhost.:{port}/",
    "http://127.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://127.000.000.001:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1%25lo]:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    f"http://{HOST}@127.0.0.1:{{port}}/",
    f"http://{HOST}:80@127.0.0.1:{{port}}/",
    f"http://user:secret@{HOST}:{{port}}/",
    f"http://127.0.0.1:{{port}}\\@{HOST}/",
    f"http://127.0.0.1:{{port}}#@{HOST}/",
    f"http://127.0.0.1:{{port}}?@{HOST}/",
    f"http://{HOST}.nip.example:{{port}}/",
    f"http://x.{HOST}:{{port}}/",
    f"http://{HOST}\t:{{port}}/",
    f"http://{HOST}%00.example:{{port}}/",
    f"http://{HOST}:{{port}}/a\r\nHost: 127.0.0.1\r\n\r\n",
    f"http://{HOST}:0{{port}}/",
    f"http://{HOST}:/",
    f"http://{HOST}:65536/",
    f"http://{HOST}:22/",
    "gopher://127.0.0.1:{port}/_GET",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/",
    "http:127.0.0.1:{port}",
    "//127.0.0.1:{port}/",
    "",
)


def test_no_writing_of_a_forbidden_place_is_a_target(forbidden: list[Listener]) -> None:
    """FAULTS A8: loopback, link-local and odd writings, user names, other ports and schemes."""
    port = forbidden[0].port
    for url in WRITTEN:
        found = attempt(allowed(port), url.format(port=port))
        assert found.startswith("target_"), (url, found)
    assert [listener.connected for listener in forbidden] == [0] * len(forbidden)


RESOLVED = (
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104 - an answer of the DNS, not where anything listens
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a9fe:a9fe",
    "2002:7f00:1::",
    "2001:0:7f00:1::1",
    "::ffff:8.8.8.8",
)


@pytest.mark.parametrize("address", RESOLVED)
def test_a_name_on_the_list_that_leads_to_a_forbidden_address_is_not_connected_to(
    forbidden: list[Listener], address: str
) -> None:
    """FAULTS A8: the DNS answers with what must not be reached; alone, or beside an address that is public."""
    port = forbidden[0].port
    for answer in ([address], ["1.1.1.1", address], [address, "1.1.1.1"]):
        outbound = allowed(port, resolve=lambda _host, _port, answer=answer: answer)
        assert attempt(outbound, f"http://{HOST}:{port}/") == "target_address"
    assert [listener.connected for listener in forbidden] == [0] * len(forbidden)


def test_the_address_that_was_checked_is_the_one_connected_to_whatever_the_dns_says_next(
    forbidden: list[Listener],
) -> None:
    """FAULTS A8: DNS rebinding."""
    port = forbidden[0].port
    with Listener("127.0.0.9", port=port) as good:
        answers = iter([["127.0.0.9"], ["127.0.0.1"], ["127.0.0.1"]])
        outbound = allowed(
            port,
            networks=(ipaddress.ip_network("127.0.0.9/32"),),
            resolve=lambda _host, _port: next(answers),
        )
        assert attempt(outbound, f"http://{HOST}:{port}/hook?a=1") == "204"
        assert good.heard[0].startswith(b"POST /hook?a=1 HTTP/1.1\r\n")
        assert f"Host: {HOST}:{port}\r\n".encode() in good.heard[0]
        assert attempt(outbound, f"http://{HOST}:{port}/") == "target_address"
        assert good.connected == 1
    assert [listener.connected for listener in forbidden] == [0] * len(forbidden)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(forbidden: list[Listener], status: int) -> None:
    """FAULTS A8: redirects to a forbidden place."""
    port = forbidden[0].port
    answer = f"HTTP/1.1 {status} Moved\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n"
    with Listener("127.0.0.9", answer.encode(), port) as good:
        assert attempt(to(good), f"http://{HOST}:{port}/") == str(status)
        assert good.connected == 1
    assert [listener.connected for listener in forbidden] == [0] * len(forbidden)


def to(listener: Listener, **more: object) -> Outbound:
    """Return an Outbound whose one host is this listener."""
    network = ipaddress.ip_network(listener.address)
    resolve = {"resolve": lambda _host, _port: [listener.address]}
    return allowed(listener.port, networks=(network,), **resolve, **more)


def test_a_proxy_of_the_environment_is_not_used(
    forbidden: list[Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS A8: http_proxy points to a forbidden place."""
    for name in ("http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{forbidden[0].port}")
    with Listener("127.0.0.9") as good:
        assert attempt(to(good), f"http://{HOST}:{good.port}/") == "204"
    assert [listener.connected for listener in forbidden] == [0] * len(forbidden)


def test_in_production_only_https_will_do_and_the_usual_port_unless_another_is_listed() -> None:
    outbound = Outbound(hosts=frozenset({HOST, "b.example:8443"}))
    assert target_of(outbound, f"https://{HOST}/x").port == 443
    assert target_of(outbound, f"HTTPS://{HOST.upper()}/x").host == HOST
    assert target_of(outbound, "https://b.example:8443").path == "/"
    for url in (f"http://{HOST}/", f"https://{HOST}:8443/", "https://b.example/", f"https://{HOST}/#a"):
        with pytest.raises(TargetRefused):
            target_of(outbound, url)


def test_the_name_is_what_the_certificate_must_show_though_the_address_is_connected_to(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    for named, expected in ((HOST, "204"), ("other.example", "tls")):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        shown = authority.issue(named)
        context.load_cert_chain(shown.certificate, shown.key)
        trust = ssl.create_default_context(cafile=str(authority.certificate))
        with Listener("127.0.0.9", tls=context) as good:
            assert attempt(to(good, trust=trust), f"https://{HOST}:{good.port}/") == expected
            assert attempt(to(good), f"https://{HOST}:{good.port}/") == "tls"


@pytest.mark.parametrize(
    "answer", [b"", b"junk\r\n\r\n", b"HTTP/1.1 99999999 x\r\n\r\n", b"HTTP/1.1 200 " + b"x" * 70_000]
)
def test_what_is_no_answer_is_a_failure(answer: bytes) -> None:
    with Listener("127.0.0.9", answer) as bad:
        assert attempt(to(bad), f"http://{HOST}:{bad.port}/") == "no_answer"


def test_a_side_that_drips_for_ever_is_cut_when_the_time_is_over() -> None:
    with Listener("127.0.0.9", drip=True) as slow:
        started = time.monotonic()
        assert attempt(to(slow, seconds=0.5), f"http://{HOST}:{slow.port}/") == "timeout"
        assert time.monotonic() - started < 5


def test_a_name_nobody_knows_is_a_failure_and_no_error() -> None:
    def nobody(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "nobody")

    assert attempt(allowed(80, resolve=nobody), f"http://{HOST}/") == "unknown_host"
    assert attempt(allowed(80, resolve=lambda _h, _p: []), f"http://{HOST}/") == "unknown_host"


def test_at_least_forty_tricks_are_tried() -> None:
    assert len(WRITTEN) + len(RESOLVED) >= 40
