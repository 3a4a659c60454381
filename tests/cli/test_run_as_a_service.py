"""``rxpipe run`` with metrics, probes, JSON logs and a service manager, as a program of its own."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from pipeline_helpers import LIMIT, until
from prometheus_client.parser import text_string_to_metric_families

from .program import Running, refused, rxpipe, started, write_config

HELD = """
import time
from pathlib import Path

def work(number):
    if number == 1:
        raise ValueError("no number")
    print("working", number)
    while number == 3 and not Path("go_on").exists():
        time.sleep(0.02)
    return {"number": number}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Its last call lasts until there is a file."""
    stages = [{"name": "work", "call": "MODULE:work", "retry": {"max_attempts": 1}}]
    return write_config(tmp_path, HELD, name="bank", stages=stages)


def address(program: Running, what: str) -> str:
    """What the program has told: where it serves this."""
    found = re.search(rf'"what": "{what}", "url": "([^"]+)"', program.seen)
    assert found is not None, program.seen
    return found[1]


@pytest.mark.slow
def test_a_run_that_is_watched(config: Path, tmp_path: Path) -> None:
    """From its beginning over a signal to its end, on all ways at once."""
    options = ["--metrics", "127.0.0.1:0", "--health", "127.0.0.1:0", "--logs", "json"]
    with received(tmp_path / "notify") as told:
        path = str(tmp_path / "notify")
        watched = started("run", config, *options, cwd=tmp_path, NOTIFY_SOCKET=path, WATCHDOG_USEC="1000000")
        with watched as program, httpx.Client(timeout=LIMIT) as client:
            program.wait_for('"item failed"')
            livez, readyz, metrics = (address(program, what) for what in ("livez", "readyz", "metrics"))
            assert {httpx.URL(one).port for one in (livez, readyz)} == {httpx.URL(metrics).port}
            assert client.get(livez).json() == {"ok": True, "status": "alive", "reason": ""}
            until(lambda: client.get(readyz).status_code == 200)
            until(lambda: value(client, metrics, "rxpipe_items_total", rxpipe_item_status="written") == 1)
            assert value(client, metrics, "rxpipe_run_in_flight") == 1
            assert value(client, metrics, "rxpipe_store_up") == 1
            until(lambda: value(client, metrics, "rxpipe_store_backlog", rxpipe_item_state="running") is not None)
            program.send(signal.SIGTERM)
            program.wait_for('"pipeline draining"')
            draining = client.get(readyz)
            assert (draining.status_code, draining.json()["status"]) == (503, "draining")
            assert client.get(livez).status_code == 200
            (tmp_path / "go_on").touch()
            ended = program.end()
        until(lambda: "STOPPING=1" in told)
    assert (ended.code, ended.out) == (143, "")
    lines = [json.loads(line) for line in ended.err.splitlines()]
    assert {"serving", "printed", "pipeline started", "item failed", "pipeline ended"} <= {
        one["event"] for one in lines
    }
    assert {one["pipeline"] for one in lines} == {"bank"}
    assert "error" not in {one["level"] for one in lines}, "that an item failed is no error of the command"
    (end,) = (one for one in lines if one["event"] == "pipeline ended")
    assert (end["commonest_error"], end["commonest_error_items"]) == ("work: ValueError: no number", 1)
    (failed,) = (one for one in lines if one["event"] == "item failed")
    assert (failed["run"], failed["item"], failed["stage"], failed["level"]) == (1, 1, "work", "warning")
    assert {one["run"] for one in lines[lines.index(failed) :]} == {1}
    assert told.index("READY=1") < told.index("WATCHDOG=1") < told.index("STOPPING=1")
    assert told.count("READY=1") == told.count("STOPPING=1") == 1
    assert "EXTEND_TIMEOUT_USEC=30000000" in told[told.index("STOPPING=1") :]


def value(client: httpx.Client, url: str, name: str, **labels: str) -> float | None:
    """That of a sample; None if there is none."""
    for family in text_string_to_metric_families(client.get(url).text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return None


@contextmanager
def received(path: Path) -> Generator[list[str]]:
    """All lines that come to a socket, which is read all the time: its queue is short."""
    lines: list[str] = []
    over = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(0.1)

        def receive() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    lines.extend(manager.recv(4096).decode().split("\n"))

        thread = threading.Thread(target=receive)
        thread.start()
        try:
            yield lines
        finally:
            over.set()
            thread.join()


def test_without_a_store_and_a_manager(tmp_path: Path) -> None:
    """It has a summary, and says where it serves; what it has served is closed at the end."""
    config = write_config(tmp_path, "def work(number):\n    return {'number': number}\n", strategy="staged")
    ended = rxpipe("run", config, "--health", "127.0.0.1:0")
    assert ended.code == 0
    found = re.search(r"readyz: (http://\S+)", ended.err)
    assert found is not None
    assert "written" in ended.out
    with pytest.raises(httpx.ConnectError):
        httpx.get(found[1], timeout=LIMIT)


@pytest.mark.parametrize("option", ["--metrics", "--health"])
def test_an_address_that_is_taken(config: Path, option: str) -> None:
    """One sentence says so, and nothing was run."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        message = refused("run", config, option, f"127.0.0.1:{port}")
    assert message == f"{option}: cannot listen at 127.0.0.1:{port}: Address already in use"
    assert not (config.parent / "bank.db").exists()


def test_no_address(config: Path) -> None:
    """It says what is one."""
    assert "allowed: HOST:PORT" in refused("run", config, "--health", "8080")


def test_errors_are_json_too(config: Path) -> None:
    """Also those of a config, before anything is run."""
    config.write_text(config.read_text().replace("MODULE", "gone").replace(":work", ":gone"))
    ended = rxpipe("run", config, "--logs", "json")
    assert (ended.code, ended.out) == (2, "")
    (line,) = (json.loads(one) for one in ended.err.splitlines())
    assert (line["level"], line["event"]) == ("error", "command failed")
    assert "gone" in line["error"]


def test_logs_of_another_kind() -> None:
    """There are two."""
    ended = rxpipe("run", "c.yaml", "--logs", "xml")
    assert ended.code == 2
    assert "text or json" in ended.err


@pytest.mark.parametrize("package", ["prometheus_client", "opentelemetry.exporter.prometheus"])
def test_the_extra_is_missing(config: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """One message says what to install; probes need nothing."""
    from rxpipe.service import service

    def find(name: str) -> Any:
        return None if name == package else object()

    monkeypatch.setattr(service, "find_spec", find)
    assert "pip install" in refused("run", config, "--metrics", "127.0.0.1:0")
