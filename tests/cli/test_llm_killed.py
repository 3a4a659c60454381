"""A question bank from a language model, killed half way and run again: what the server counted."""

from __future__ import annotations

import itertools
import json
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from programs import Program, run

from rxpipe.devtools.fake_llm import Behaviour, serving

QUESTIONS = 300
SLOTS = 16
GROUP = 0.05  # seconds for which checkpoints are gathered
CALLS = {"generation": "stages:numbered", "answering": "stages:answer", "grading": "stages:grade"}


def config(folder: Path, url: str) -> Path:
    """A durable run, each call of which has a text of its own: then the server tells calls apart."""
    (folder / "stages.py").write_text(
        "from dataclasses import replace\n"
        "from rxpipe.llm import Provider\n"
        "from rxpipe.questions.llm import generate, answer, grade\n\n"
        "async def numbered(value, *, provider: Provider):\n"
        "    question = await generate(value, provider=provider)\n"
        "    return replace(question, question=f'{value}: {question.question}')\n",
        encoding="utf-8",
    )
    written = {
        "providers": {"fake": {"base_url": url, "model": "fake-model"}},
        "stages": [
            {"name": name, "call": call, "with": {"provider": "fake"}, "concurrency": SLOTS}
            for name, call in CALLS.items()
        ],
        "source": {"range": QUESTIONS},
        "database": {"url": f"sqlite:///{folder}/questions.db"},
        "scheduler": "asyncio",
    }
    path = folder / "pipeline.yaml"
    path.write_text(json.dumps(written), encoding="utf-8")
    return path


@pytest.mark.slow
def test_killed_half_way_and_run_again(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """No call is made again whose result was committed; at most those in flight, and one group that was not."""
    needed = QUESTIONS * len(CALLS)
    with serving(Behaviour(latency=0.05)) as server:
        command = ["-m", "rxpipe.cli", "run", str(config(tmp_path, server.url)), "--quiet"]
        with Program(*command, cwd=tmp_path) as killed:
            while server.stats()["calls"] < needed / 2:
                assert killed.poll() is None, "it ended by itself"
                time.sleep(0.01)
            killed.send_signal(signal.SIGKILL)
        while server.stats()["in_flight"]:
            time.sleep(0.01)
        first = server.stats()
        with closing(sqlite3.connect(tmp_path / "questions.db")) as database:
            times = sorted(at for (at,) in database.execute("SELECT at FROM rxpipe_checkpoints"))
        assert len(times) > 0
        assert run(*command, cwd=tmp_path).returncode == 0
        stats = server.stats()

    with closing(sqlite3.connect(tmp_path / "questions.db")) as database:
        assert database.execute("SELECT status, count(*) FROM results").fetchall() == [("written", QUESTIONS)]
    assert len(stats["by_key"]) == needed
    assert all(one["calls"] >= 1 for one in stats["by_key"].values())
    again = stats["calls"] - needed
    assert again == first["calls"] - len(times)  # what had no checkpoint, and nothing else
    commit = max(after - before for before, after in itertools.pairwise(sorted(set(times))))
    rate = len(times) / (times[-1] - times[0])
    at_most = SLOTS * len(CALLS) + rate * (GROUP + commit)
    record_property("calls made again", again)
    record_property("at most", int(at_most))
    assert again <= at_most
