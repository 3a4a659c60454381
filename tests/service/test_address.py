"""``HOST:PORT``: what is one, and what is said of what is none."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from rxpipe.errors import ConfigError
from rxpipe.service.address import Address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:9464", "127.0.0.1", 9464), ("localhost:0", "localhost", 0), ("[::1]:8080", "::1", 8080)],
)
def test_an_address(text: str, host: str, port: int) -> None:
    """It is told as it was given."""
    address = Address.parse(text, "--metrics")
    assert (address.host, address.port, str(address)) == (host, port, text)


@pytest.mark.parametrize(
    "text", ["", "9464", ":9464", "localhost", "localhost:", "localhost:http", "localhost:65536", "localhost:-1", "a:٣"]
)
def test_no_address(text: str) -> None:
    """One sentence says what is allowed."""
    with pytest.raises(ConfigError, match=r"--metrics: given .*; allowed: HOST:PORT, as in 127.0.0.1:9464"):
        Address.parse(text, "--metrics")


def test_ipv6_needs_brackets() -> None:
    """As the port could be a part of it."""
    with pytest.raises(ConfigError, match="brackets"):
        Address.parse("::1:9464", "--health")


def test_a_port_that_is_taken() -> None:
    """It is named."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--health: cannot listen at 127.0.0.1:{port}: .*in use"):
            Address("127.0.0.1", port).listen("--health")


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "a" * 70 + ".example"])
def test_a_host_that_is_not_here(host: str) -> None:
    """An address of documentation, and texts that are no names."""
    with pytest.raises(ConfigError, match="cannot listen at"):
        Address(host, 0).listen("--health")
