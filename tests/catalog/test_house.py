"""The ports of the services of one machine."""

import socket

import pytest

from catalog.errors import HurenError
from catalog.house import reserved_port


def test_a_reserved_port_goes_to_the_service_and_to_nobody_else() -> None:
    with reserved_port(0) as port:
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
        with socket.create_server(("127.0.0.1", port)) as service:  # SO_REUSEADDR, as every server sets it
            assert service.getsockname()[1] == port


def test_a_port_with_a_service_on_it_cannot_be_reserved() -> None:
    with socket.create_server(("127.0.0.1", 0)) as service, pytest.raises(HurenError) as caught:
        reserved_port(service.getsockname()[1]).__enter__()
    assert caught.value.code == "port_taken"
