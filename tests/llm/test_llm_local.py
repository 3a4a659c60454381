"""A model in this process: found, run, stopped; and one that is none."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from llm_pipelines import asking
from odd_llm import MESSAGES
from pipeline_helpers import SCHEDULERS
from servers import small_model

from rxpipe import ConfigError
from rxpipe.llm import ProviderUnusable, local, local_provider
from rxpipe.pipeline.plan import Scheduler

pytest.importorskip("xllamacpp", exc_type=ImportError)  # also where libgomp.so.1 is missing

needs_model = pytest.mark.usefixtures("fetched")
schedulers = pytest.mark.parametrize("scheduler", SCHEDULERS)


@pytest.fixture(scope="session")
def fetched() -> None:
    """Skips where the small model is missing."""
    small_model()


def test_a_model_file_that_is_missing_is_told() -> None:
    """When the provider is made, not when it is called."""
    with pytest.raises(ConfigError, match=r"^nowhere\.gguf: there is no such model file$"):
        local_provider("nowhere.gguf")


@pytest.mark.parametrize("slots", [0, -1])
def test_no_slots_are_refused(slots: int) -> None:
    """Nothing could ever be answered."""
    with pytest.raises(ValueError, match=f"slots must be at least 1, not {slots}"):
        local_provider(slots=slots)


def test_a_package_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""

    def found(name: str) -> object | None:
        return None if name == "xllamacpp" else object()

    monkeypatch.setattr("rxpipe.llm.provider.find_spec", found)
    with pytest.raises(ConfigError, match='xllamacpp must be installed: pip install "'):
        local_provider()


def test_a_model_that_was_not_fetched_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, with the command that fetches it."""
    monkeypatch.setattr(local, "model_path", lambda: tmp_path / "model.gguf")
    hint = r"^the small model is not here yet: run `rxpipe fetch-model`, which downloads 93 MB, once$"
    with pytest.raises(ConfigError, match=hint):
        local_provider()


def test_a_library_of_the_system_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slim images have no OpenMP."""

    def missing(name: str) -> object:
        raise ImportError("libgomp.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(local, "import_module", missing)
    with pytest.raises(ConfigError, match=r"libgomp\.so\.1.*: install it, with `apt-get install libgomp1` on Debian$"):
        local_provider()


@pytest.mark.slow
@schedulers
def test_a_file_that_is_no_model_stops_the_run(tmp_path: Path, scheduler: Scheduler) -> None:
    """At once, with one message; nothing has failed."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF, or so they say")
    with pytest.raises(ProviderUnusable) as raised:
        asking(local_provider(path), scheduler).run(range(20))
    assert str(raised.value).startswith(f"local: {path}: the model cannot be loaded: ")


PROGRAM = """
import sys, threading
from functools import partial
from rxpipe import Pipeline, Retry, Stage
from rxpipe.llm import Prompt, local_provider
from rxpipe.questions.llm import answer, generate, grade
from rxpipe.llm.local import _start
import rxpipe.llm.local as local

addresses = []

def start(*arguments):
    server = _start(*arguments)
    addresses.append(server.listening_address)
    return server

local._start = start
local._LONGEST_TEXT = 30  # it is slow where it shares its processor
provider = local_provider(options={"max_tokens": 120, "seed": 1})
calls = {"generation": partial(generate, topic=["animals", "food"]), "answering": answer, "grading": grade}
pipeline = Pipeline(
    *(Stage(name, partial(call, provider=provider), timeout=100, concurrency=2,
        retry=Retry(max_attempts=1 if name == "grading" else 5, initial=0)) for name, call in calls.items()),
    scheduler=sys.argv[1],
)
print("started", flush=True)
report = pipeline.run(range(int(sys.argv[2])))
print(len(addresses), addresses[0], report.taken, report.written, report.usage.completion_tokens > 0, flush=True)
"""


def program(scheduler: Scheduler, items: int) -> subprocess.Popen[str]:
    """A bank that is filled by the small model."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, scheduler, str(items)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def refuses(address: str) -> bool:
    """Whether nobody listens there."""
    host, port = address.removeprefix("http://").split(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) != 0


@needs_model
@pytest.mark.slow
@schedulers
def test_three_items_go_through_all_stages(scheduler: Scheduler) -> None:
    """On one server, which is gone in the end; the process ends cleanly."""
    with program(scheduler, 3) as running:
        out, err = running.communicate(timeout=280)
    assert (running.returncode, err) == (0, "")
    servers, address, *counts = out.split("\n")[1].split()
    assert (servers, counts) == ("1", ["3", "3", "True"])
    assert refuses(address)


@needs_model
@pytest.mark.slow
def test_a_server_is_stopped_with_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its port refuses; a later loop starts another, and calls on one loop share it."""
    addresses: list[str] = []
    started = local._start  # pyright: ignore[reportPrivateUsage]

    def start(path: Path, slots: int) -> Any:
        server = started(path, slots)
        addresses.append(server.listening_address)
        return server

    async def twice() -> None:
        await asyncio.gather(provider.chat(MESSAGES), provider.chat(MESSAGES))

    monkeypatch.setattr(local, "_start", start)
    provider = local_provider(options={"max_tokens": 3})
    for _ in range(2):
        asyncio.run(twice())
    assert len(addresses) == 2
    assert all(refuses(address) for address in addresses)


@needs_model
@pytest.mark.slow
@schedulers
def test_a_run_is_interrupted_while_the_model_works(scheduler: Scheduler) -> None:
    """The second Ctrl-C ends it in a few seconds, whatever is being written."""
    with program(scheduler, 1000) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "started\n"
        time.sleep(4)
        for _ in range(2):
            os.kill(running.pid, signal.SIGINT)
            time.sleep(0.5)
        start = time.monotonic()
        _, err = running.communicate(timeout=60)
        assert time.monotonic() - start < 20
    assert running.returncode in (1, -signal.SIGINT)
    assert err.rstrip().endswith("KeyboardInterrupt")
