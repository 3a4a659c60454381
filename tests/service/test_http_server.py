"""The small HTTP server, asked over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http import HTTPStatus

import httpx
import pytest

from rxpipe.insight.snapshot import Snapshot
from rxpipe.pipeline.stage import Stage
from rxpipe.service.address import Address
from rxpipe.service.health import HealthWatch
from rxpipe.service.http_server import Answer, HttpServer
from rxpipe.service.probes import probes

RUNNING = Snapshot(at=0, elapsed=0, stages=(), in_flight=1)


class Given:
    """A run that is as the test says."""

    def __init__(self) -> None:
        self.now = RUNNING
        self.trouble = ""
        self.seconds = 0.0
        self.watch = HealthWatch(now=lambda: self.seconds)

    def snapshot(self) -> Snapshot:
        return self.now

    def begin(self) -> None:
        self.watch.begin(self, [Stage("work", lambda value: value, timeout=1.0)])
        self.watch.look()


@pytest.fixture
def given() -> Given:
    return Given()


@pytest.fixture
def client(given: Given) -> Iterator[httpx.Client]:
    """Of a server of probes."""
    paths = probes(given.watch, lambda: given.trouble)
    server = HttpServer(Address("127.0.0.1", 0).listen("--health"), paths)
    with server, httpx.Client(base_url=server.url, timeout=10) as asking:
        yield asking


def told(client: httpx.Client, path: str) -> tuple[int, str, str]:
    answer = client.get(path)
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert body["ok"] == (answer.status_code == 200)
    return answer.status_code, body["status"], body["reason"]


def test_the_life_of_a_run(given: Given, client: httpx.Client) -> None:
    """It is not ready before it has begun, while its store does not answer, and from the first signal on."""
    assert told(client, "/livez") == (200, "starting", "no run has begun")
    assert told(client, "/readyz")[:2] == (503, "starting")
    given.begin()
    assert told(client, "/livez") == (200, "alive", "")
    assert told(client, "/readyz") == (200, "alive", "")
    given.trouble = "the store does not answer"
    assert told(client, "/livez")[0] == 200
    assert told(client, "/readyz") == (503, "alive", "the store does not answer")
    given.trouble = ""
    given.watch.drain()
    assert told(client, "/livez")[:2] == (200, "draining")
    assert told(client, "/readyz")[:2] == (503, "draining")


def test_a_stalled_run(given: Given, client: httpx.Client) -> None:
    """Whoever looks after processes may start it again."""
    given.begin()
    for _ in range(20):
        given.seconds += 5
        told(client, "/livez")
    code, status, reason = told(client, "/livez")
    assert (code, status) == (503, "stalled")
    assert reason.startswith("nothing has happened for 100 s")
    assert told(client, "/readyz")[:2] == (503, "stalled")


def test_other_requests(client: httpx.Client) -> None:
    """HEAD has no body; other paths and methods are not there."""
    head = client.head("/livez?verbose")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 10
    missing = client.get("/")
    assert (missing.status_code, missing.text) == (404, "there is: /livez, /readyz\n")
    assert client.post("/livez", content=b"{}").status_code == 501
    assert "Python" not in missing.headers["server"]


def test_a_client_that_goes_away(given: Given, client: httpx.Client, capfd: pytest.CaptureFixture[str]) -> None:
    """Nor one that talks nonsense holds others up, or is news."""
    port = client.base_url.port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port)) as other:
        other.sendall(b"GET /livez")
        assert told(client, "/livez")[0] == 200
    with socket.create_connection(("127.0.0.1", port)) as other:
        other.sendall(b"\x00\xff\r\n\r\n")
        other.recv(1000)
    assert told(client, "/livez")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_an_ipv6_address_stands_in_brackets() -> None:
    """In the address that is printed."""
    try:
        listening = Address("::1", 0).listen("--metrics")
    except Exception:  # noqa: BLE001 - whatever says so
        pytest.skip("there is no IPv6 here")
    answer = Answer(HTTPStatus.OK, "text/plain", b"here")
    with HttpServer(listening, {"/": lambda accept: answer}) as server:
        assert server.url.startswith("http://[::1]:")
        assert httpx.get(server.url, timeout=10).text == "here"
