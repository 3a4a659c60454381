"""``rxpipe fake-llm``, in this process and as a program of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import Any

import programs
import pytest
from typer.testing import CliRunner

from rxpipe.cli.parser.configs import app
from rxpipe.devtools.fake_llm import serving

from .clients import address, request, wait_until


class Program:
    """The command as a program, which has started."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.line = process.stdout.readline()
        self.address = self.line.split("/")[2] if "/" in self.line else ""

    def post(self, connection: HTTPConnection, user: str, **headers: str) -> None:
        """Send a call, and read nothing yet."""
        connection.request("POST", "/v1/chat/completions", json.dumps(request(user)), headers)

    def stats(self) -> dict[str, Any]:
        """What it has counted."""
        with closing(HTTPConnection(self.address)) as connection:
            connection.request("GET", "/stats")
            counted: dict[str, Any] = json.loads(connection.getresponse().read())
            return counted

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        """Send a signal, and wait for the end: the exit code, and what it said besides its line."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@contextmanager
def program(*arguments: str, **variables: str) -> Generator[Program]:
    """The command with these arguments, at a port that is free."""
    command = ["-m", "rxpipe.cli", "fake-llm", "--port", "0", *arguments]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with programs.Program(*command, env={**os.environ, **variables}, **streams) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


def refused(*arguments: str) -> str:
    """What is told of bad options, with 2."""
    result = CliRunner().invoke(app, ["fake-llm", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_comes(number: signal.Signals) -> None:
    """Having printed one line, and ends at once and well, though a call hangs."""
    with program("--hang", "1") as started:
        url = f"http://{started.address}"
        assert started.line == f"fake LLM at {url}/v1, counts at {url}/stats\n"
        with closing(HTTPConnection(started.address)) as connection:
            started.post(connection, "hi")
            wait_until(lambda: started.stats()["in_flight"] == 1)
            assert started.end(number) == (0, "", "")


@pytest.mark.slow
def test_its_options_reach_the_server() -> None:
    """Those with a syntax of their own; the key is nowhere to be seen."""
    limits = (
        "--rate-limit",
        "60/m",
        "--token-limit",
        "9000/h",
        "--latency",
        "exponential(mean=0.001)",
        "--load-slots",
        "4",
        "--key-env",
        "MY_KEY",
    )
    with program(*limits, MY_KEY="secret") as started:
        with closing(HTTPConnection(started.address)) as connection:
            started.post(connection, "hi", Authorization="Bearer secret")
            response = connection.getresponse()
            response.read()
        code, out, err = started.end(signal.SIGTERM)
    assert response.status == 200
    assert response.headers["x-ratelimit-limit-requests"] == "60"
    assert response.headers["x-ratelimit-limit-tokens"] == "9000"
    assert (code, "secret" in started.line + out + err) == (0, False)


def test_a_taken_port_is_one_error() -> None:
    """Which names it, and what is allowed."""
    with serving() as server:
        _, port = address(server)
        told = refused("--port", str(port))
    assert re.fullmatch(rf"error: cannot listen at 127\.0\.0\.1:{port}: .*; allowed: an address of this .*", told)


def test_an_unknown_host_is_one_error() -> None:
    """Like a taken port."""
    assert refused("--port", "0", "--host", "256.0.0.1").startswith("error: cannot listen at 256.0.0.1:0: ")


def test_a_missing_library_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which says what to install."""
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "rxpipe.devtools.fake_llm.http", raising=False)
    assert refused("--port", "0").startswith(
        'error: the fake LLM needs the extra openai: pip install "openai[aiohttp]>='
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--latency", "fast"], "'fast' is no distribution; allowed: seconds like 0.2, a range of them"),
        (["--rate-limit", "60"], "'60'; allowed: a rate like 60/s, 600/m or 9000/h"),
        (["--token-limit", "0/s"], "'0/s'; allowed: a rate like 60/s, 600/m or 9000/h"),
        (["--fail", "0.7", "--hang", "0.7"], "are shares that sum up to 1 at most, not to 1.4"),
        (["--retry-after", "inf"], "retry_after is 0 or more seconds, not inf"),
        (["--key-env", "NO_SUCH_KEY"], "'NO_SUCH_KEY'; allowed: an environment variable that is set, to the key"),
    ],
)
def test_bad_options_are_one_error(arguments: list[str], told: str) -> None:
    """Which says what is allowed."""
    assert told in refused(*arguments)


@pytest.mark.parametrize(
    ("option", "value", "bound"), [("--port", "70000", "65535"), ("--slots", "0", "1"), ("--fail", "1.5", "1")]
)
def test_numbers_out_of_bounds_are_one_error(option: str, value: str, bound: str) -> None:
    """Which names the option and the bound, in the words of the library."""
    told = refused(option, value)
    assert f"'{option}'" in told
    assert re.search(rf"\b{bound}\b", told)


def test_help_does_not_import_aiohttp() -> None:
    """It comes at once."""
    code = (
        "import sys; from rxpipe.cli.parser.configs import app\n"
        "assert not {'aiohttp', 'asyncio', 'rxpipe.devtools.fake_llm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
