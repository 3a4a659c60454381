"""``rxpipe view`` and ``rxpipe run --view``: where the page is, who may see it, and how it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from pipeline_helpers import LIMIT
from programs import Program

from .program import refused, rxpipe, started, write_config

ACTION = {"x-rxpipe-action": "1"}
SLOW = """
import time

def work(number):
    time.sleep(0.05)
    return {"number": number}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A pipeline that has run."""
    path = write_config(tmp_path, "def work(number):\n    return {'number': number}\n")
    assert rxpipe("run", path).code == 0
    return path


@contextmanager
def viewing(config: Path, *options: str) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """A page that is served, and its address."""
    command = ["-m", "rxpipe.cli", "view", str(config), "--no-browser", "--port", "0", *options]
    with Program(*command, cwd=config.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if found := re.search(r"^page: (\S+)", line):
                    yield found[1], process
                    return
            raise AssertionError("no address was printed")
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_page_is_served_until_a_signal_comes(config: Path, number: signal.Signals) -> None:
    """Also while a browser watches; that is the usual way to end it, and no failure."""
    with viewing(config) as (url, process), httpx.Client(base_url=url, timeout=LIMIT) as client:
        assert client.get("/").status_code == 200
        (run,) = client.get("/api/runs").json()["runs"]
        assert (run["counts"]["written"], run["state"]) == (3, "finished")
        with client.stream("GET", "/api/runs/1/stream") as stream:
            assert next(stream.iter_lines()) == "event: run"
            process.send_signal(number)
            _, errors = process.communicate(timeout=LIMIT)
    assert errors == ""
    assert process.returncode in (0, -signal.SIGTERM, 143)


@pytest.mark.slow
def test_beyond_this_machine_a_token_is_needed(config: Path) -> None:
    """The printed address has it."""
    with viewing(config, "--host", "0.0.0.0", "--read-only", "--allow-host", "bank.example") as (url, _):
        port, token = httpx.URL(url).port, httpx.URL(url).params["token"]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/api/runs").status_code == 401
            allowed = {"authorization": f"Bearer {token}"}
            assert client.get("/api/runs", headers={**allowed, "host": "bank.example"}).status_code == 200
            assert client.get("/api/runs", headers={**allowed, "host": "other.example"}).status_code == 403
            assert client.post("/api/runs/1/stop", json={}, headers={**allowed, **ACTION}).status_code == 403


@pytest.mark.slow
@pytest.mark.parametrize("action", ["stop", "abort"])
def test_a_run_with_a_page(tmp_path: Path, action: str) -> None:
    """Its address is told as the run begins; the page shows the run, and can stop it."""
    config = write_config(tmp_path, SLOW, source={"range": 100_000})
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = str(free.getsockname()[1])
    with started("run", config, "--view-port", port, cwd=tmp_path) as program:
        program.wait_for("page: ")
        program.wait_for("\n")
        found = re.search(r"page: (\S+)#/runs/1\s", program.seen)
        assert found is not None
        assert found[1] == f"http://127.0.0.1:{port}/"
        with httpx.Client(base_url=found[1], timeout=LIMIT) as client:
            (row,) = client.get("/api/runs").json()["runs"]
            assert (row["number"], row["state"]) == (1, "running")
            assert client.get("/api/runs/1").json()["snapshot"]["stages"][0]["name"] == "work"
            told = client.post("/api/runs/1/stop", json={"abort": action == "abort"}, headers=ACTION)
            assert told.json() == {"told": 1}
        program.end()


@pytest.mark.slow
def test_a_run_without_a_store_has_a_page(tmp_path: Path) -> None:
    """Without items."""
    config = write_config(tmp_path, SLOW, source={"range": 200}, strategy="staged")
    with started("run", config, "--view", cwd=tmp_path) as program:
        program.wait_for("page: ")
        program.wait_for("\n")
        found = re.search(r"page: (\S+)#/runs/0\s", program.seen)
        assert found is not None
        with httpx.Client(base_url=found[1], timeout=LIMIT) as client:
            assert client.get("/api/about").json()["has_store"] is False
            assert [row["number"] for row in client.get("/api/runs").json()["runs"]] == [0]
            assert client.get("/api/runs/0").json()["snapshot"]["strategy"] == "staged"
        assert program.end().code == 0


def test_there_is_no_store(tmp_path: Path) -> None:
    """One error says so, and nothing is served."""
    assert "gone.db" in refused("view", "--database", f"sqlite:///{tmp_path / 'gone.db'}", "--no-browser")


def test_a_port_that_is_taken(config: Path) -> None:
    """One that was asked for is not replaced by another."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        message = refused("view", config, "--no-browser", "--port", str(port))
    assert f"127.0.0.1, port {port}" in message


def test_names_are_for_a_page_beyond_this_machine(config: Path) -> None:
    """On loopback there is nobody who could use them."""
    assert "--host" in refused("view", config, "--no-browser", "--port", "0", "--allow-host", "bank.example")


@pytest.mark.parametrize("command", [["view"], ["run", "--view"]])
@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_the_extra_is_missing(config: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], package: str) -> None:
    """One message says what to install."""

    def find(name: str) -> object:
        return None if name == package else name

    monkeypatch.setattr("rxpipe.cli.commands.view.find_spec", find)
    message = refused(*command, config)
    assert message.startswith("the page needs the extra web: pip install ")
    assert "uvicorn" in message or '".[web]"' in message
