"""The question bank in rxpipe and in its peers: ``python -m tests.benchmarks.llm_peers --venvs FOLDER``.

Questions are written, answered and graded by ``rxpipe fake-llm``, in a process of its own on the same machine, and
each peer keeps the rows in its own way. A peer has an environment of its own, ``FOLDER/NAME``, which ``--install``
makes; its script is in ``llm_peers_scripts``. Each figure has a fresh process and a fresh server, whose counts are
looked at twenty times a second: the first call and the last reply are seen up to 0.05 s late.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .llm import FAULTS, QUICK, fake_server, get
from .machine import machine
from .measure import CHECKOUT, Failed
from .tables import markdown

QUESTIONS = 300
PATIENCE = 400.0
"""Seconds after which a run is taken to hang."""
INTERVAL = 0.05
MISSING = "not installed"
QUIET = {
    "DISTILABEL_LOG_LEVEL": "WARNING",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "NEMO_TELEMETRY_ENABLED": "false",
    "NO_PROXY": "127.0.0.1",
}
"""What keeps the peers from sending reports and from asking for files, and distilabel from logging each call."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment of a peer.

    Args:
        packages: What pip installs.
        distribution: The one whose version is told.
    """

    packages: Sequence[str]
    distribution: str


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One way of filling the question bank.

    Args:
        title: Its name in the table.
        script: Its script.
        environment: Where that runs; this one by default.
        variant: Which way, where the script knows several.
    """

    title: str
    script: str
    environment: str | None = None
    variant: str = ""


@dataclass(kw_only=True)
class Sample:
    """What one process measured.

    Attributes:
        served: Seconds from the first call to the last reply, as the server's counts tell.
        seconds: Of the run, by the clock of its process, everything being imported.
        whole: Of the process, from its start to its end.
        cpu_seconds: Of the process and its own children.
        rows: That were kept.
        stats: What the server counted.
    """

    served: float
    seconds: float
    whole: float
    cpu_seconds: float
    rows: int
    stats: dict[str, Any]


@dataclass(kw_only=True)
class Result:
    """A peer's samples, one a round, or why it has no more."""

    samples: list[Sample] = field(default_factory=list[Sample])
    failure: str = ""


ENVIRONMENTS = {
    "inspect_ai": Environment(packages=["inspect-ai", "openai"], distribution="inspect-ai"),
    "distilabel": Environment(
        packages=["distilabel[openai]", "requests"],  # it imports requests without asking for it
        distribution="distilabel",
    ),
    "data_designer": Environment(packages=["data-designer"], distribution="data-designer"),
    "openai": Environment(packages=["openai[aiohttp]"], distribution="openai"),
}
PEERS = {
    "rxpipe": Peer(title="**rxpipe**", script="ours"),
    "openai": Peer(title="bare `openai` client, loop of 48", script="plain_openai", environment="openai"),
    "openai-aiohttp": Peer(
        title="bare `openai` client on its aiohttp transport, loop of 48",
        script="plain_openai",
        environment="openai",
        variant="aiohttp",
    ),
    "inspect_ai": Peer(title="inspect_ai, 48 connections", script="inspect_task", environment="inspect_ai"),
    "inspect_ai-adaptive": Peer(
        title="inspect_ai, adaptive connections (as by default)",
        script="inspect_task",
        environment="inspect_ai",
        variant="adaptive",
    ),
    "distilabel": Peer(title="distilabel, batches of 16", script="distilabel_pipeline", environment="distilabel"),
    "data_designer": Peer(
        title="NeMo Data Designer, three models of 16 requests",
        script="data_designer_columns",
        environment="data_designer",
    ),
    "data_designer-tuned": Peer(
        title="NeMo Data Designer, the same, slower to lower that after a 429",
        script="data_designer_columns",
        environment="data_designer",
        variant="tuned",
    ),
    "data_designer-one": Peer(
        title="NeMo Data Designer, one model of 48 requests",
        script="data_designer_columns",
        environment="data_designer",
        variant="one",
    ),
}
SERVERS = {
    "good": ("without faults", [*QUICK, "--slots", "1000"]),
    "faults": ("5% of 429 (`Retry-After: 1`), 2% of 500", [*FAULTS, "--slots", "1000"]),
}


class Watch:
    """Looks at a server's counts until it is stopped, on a thread of its own."""

    def __init__(self, url: str) -> None:
        """Begin."""
        self._url = urlsplit(url)
        self._over = threading.Event()
        self._seen: list[tuple[float, int, int]] = []
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        connection = http.client.HTTPConnection(self._url.netloc, timeout=30)
        while not self._over.wait(INTERVAL):
            connection.request("GET", self._url.path)
            stats: dict[str, Any] = json.load(connection.getresponse())
            self._seen.append((time.perf_counter(), stats["calls"], sum(stats["by_status"].values())))
        connection.close()

    def stop(self) -> float:
        """End; the seconds from when calls were first seen to when the last one was first seen to have ended."""
        self._over.set()
        self._thread.join()
        first = next((at for at, calls, _ in self._seen if calls), 0.0)
        most = max((ended for _, _, ended in self._seen), default=0)
        return next((at for at, _, ended in self._seen if ended == most), 0.0) - first


def python_of(venvs: Path, environment: str | None) -> str:
    """The interpreter of an environment."""
    return sys.executable if environment is None else str(venvs / environment / "bin" / "python")


def install(venvs: Path, name: str) -> None:
    """Make an environment, unless it is there; what is wrong with it is seen when its peer is run."""
    python = python_of(venvs, name)
    if not Path(python).exists():
        subprocess.run([sys.executable, "-m", "venv", str(venvs / name)], check=True)
    if version_in(venvs, name).endswith(MISSING):
        command = [python, "-m", "pip", "install", "--quiet", *ENVIRONMENTS[name].packages]
        subprocess.run(command, check=False, timeout=1800)


def version_in(venvs: Path, name: str) -> str:
    """A peer and its version, or that it is not there."""
    distribution = ENVIRONMENTS[name].distribution
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    try:
        done = subprocess.run([python_of(venvs, name), "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return f"{distribution} {MISSING}"
    return f"{distribution} {done.stdout.strip()}"


def measure(peer: Peer, venvs: Path, server: Sequence[str], questions: int) -> Sample:
    """Run a peer in a fresh process, at a fresh server.

    Raises:
        Failed: The process failed, or hung, or its environment is missing.
    """
    python = python_of(venvs, peer.environment)
    if not Path(python).exists():
        raise Failed(MISSING)
    with fake_server(server) as (url, counts), tempfile.TemporaryDirectory() as folder:
        command = [python, "-m", f"{__package__}.llm_peers_scripts.{peer.script}", url, str(questions), folder]
        if peer.variant:
            command.append(peer.variant)
        used, started = _cpu_of_children(), time.perf_counter()
        watch = Watch(counts)
        try:
            told = _run(command, {**os.environ, **QUIET, "HOME": folder, "DATA_DESIGNER_HOME": f"{folder}/home"})
        finally:
            whole = time.perf_counter() - started
            served = watch.stop()
        cpu = _cpu_of_children() - used
        stats = get(counts)
    del stats["by_key"]
    return Sample(served=served, whole=whole, cpu_seconds=cpu, stats=stats, **told)


def _run(command: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    """What a script tells at its end."""
    process = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that it can be ended with all its own processes
    )
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Failed(f"no end within {PATIENCE:.0f} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        raise Failed(next((line for line in reversed(err.splitlines()) if ": " in line), f"{process.returncode}"))
    return dict(json.loads(out.splitlines()[-1]))


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rounds(
    keys: Sequence[str], venvs: Path, server: Sequence[str], *, questions: int, repeats: int
) -> dict[str, Result]:
    """Measure each peer once a round; one that failed is measured no more."""
    results = {key: Result() for key in keys}
    for number in range(1, repeats + 1):
        for key, result in results.items():
            if result.failure:
                continue
            try:
                sample = measure(PEERS[key], venvs, server, questions)
            except Failed as failed:
                result.failure = str(failed)
                outcome = f"failed: {failed}"
            else:
                result.samples.append(sample)
                outcome = f"{sample.served:.2f} s, {sample.rows} rows, {sample.stats['by_status']}"
            print(f"{number}/{repeats} {key}: {outcome}", file=sys.stderr, flush=True)
    return results


def table(results: dict[str, Result], questions: int) -> str:
    """Seconds by three clocks, and what was made of them."""
    header = ["", "seconds, first call to last reply (range)", "times rxpipe's"]
    header += [
        "seconds of the run by its own clock",
        "seconds of the process",
        "CPU seconds",
        "calls answered",
        "calls made",
        "rows",
    ]
    ours = results.get("rxpipe", Result()).samples
    return markdown(header, [[PEERS[key].title, *_row(result, ours, questions)] for key, result in results.items()])


def _row(result: Result, ours: Sequence[Sample], questions: int) -> list[str]:
    if result.failure or not result.samples:
        return [f"**failed**: {result.failure}"]
    samples = result.samples
    served = [sample.served for sample in samples]
    shares = [its.served / mine.served for its, mine in zip(samples, ours, strict=False)]
    good, made = ([count(sample.stats) for sample in samples] for count in (_answered, _made))
    rows = min(sample.rows for sample in samples)
    return [
        f"{statistics.median(served):.2f} ({min(served):.2f} to {max(served):.2f})",
        f"{statistics.median(shares):.2f}" if shares else "",
        *(f"{_median(samples, figure):.2f}" for figure in (_seconds, _whole, _cpu)),
        *(
            f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
            for counts in (good, made)
        ),
        f"{rows:,}" if rows == questions else f"**{rows:,}**",
    ]


def _median(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    return statistics.median(figure(sample) for sample in samples)


def _seconds(sample: Sample) -> float:
    return sample.seconds


def _whole(sample: Sample) -> float:
    return sample.whole


def _cpu(sample: Sample) -> float:
    return sample.cpu_seconds


def _answered(stats: dict[str, Any]) -> int:
    return int(stats["by_status"].get("200", 0))


def _made(stats: dict[str, Any]) -> int:
    return int(stats["calls"])


def main() -> int:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.llm_peers", description=__doc__)
    parser.add_argument("--venvs", type=Path, required=True, help="folder of the peers' environments")
    parser.add_argument("--install", action="store_true", help="make the environments that are missing")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="three calls each (default: %(default)s)")
    parser.add_argument("--only", choices=PEERS, action="append", help="only these")
    parser.add_argument("--server", choices=SERVERS, action="append", help="only this")
    options = parser.parse_args()
    keys = options.only or list(PEERS)
    names = list(dict.fromkeys(name for key in keys if (name := PEERS[key].environment)))
    for name in names if options.install else []:
        install(options.venvs, name)
    print(f"Measured on {machine()}; {'; '.join(version_in(options.venvs, name) for name in names)}.")
    print(f"Medians of {options.repeats} interleaved rounds; a fresh process and a fresh server for each figure.")
    for server in options.server or SERVERS:
        title, arguments = SERVERS[server]
        results = rounds(keys, options.venvs, arguments, questions=options.questions, repeats=options.repeats)
        print(f"\n### {options.questions} questions, calls of 0.2 s, {title}\n\n{table(results, options.questions)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
