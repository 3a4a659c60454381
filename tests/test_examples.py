"""Every example runs as it stands."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from brokers.helpers import URLS
from programs import Program, run
from servers import answering_port, small_model

EXAMPLES = Path(__file__).parents[1] / "examples"
BROKERS = {"nats_consumer": "nats", "redis_consumer": "redis", "rabbit_consumer": "rabbit"}
WITH_MODELS = {"flaky_llm", "local_llm", "question_flow", "questions_zh"}
SCRIPTS = sorted(path for path in EXAMPLES.glob("*.py") if path.stem != "fastapi_app")  # see test_fastapi_app.py


@pytest.mark.slow
@pytest.mark.parametrize("example", SCRIPTS, ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    """It ends well, says something, and complains of nothing."""
    if example.stem in BROKERS:
        answering_port(URLS[BROKERS[example.stem]])
    ended = run(example, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    sorted(path for path in EXAMPLES.glob("*.yaml") if path.stem not in WITH_MODELS),
    ids=lambda path: path.stem,
)
def test_config_runs(config: Path, tmp_path: Path) -> None:
    """The command line runs it, and every row is written."""
    run_quietly(config, tmp_path, *(["--fast"] if config.stem == "questions" else []))


@pytest.mark.slow
def test_flow_of_passages(tmp_path: Path) -> None:
    """As many rows as it wants; a passage that was too long at first is shorter in the end."""
    for path in EXAMPLES.glob("flow.*"):
        assert len(path.read_text("utf-8").splitlines()) <= 30
    run_quietly(EXAMPLES / "flow.yaml", tmp_path)
    with closing(sqlite3.connect(tmp_path / "passages.db")) as database:
        summaries = database.execute("SELECT length(summary) FROM passages").fetchall()
    assert len(summaries) == 10
    assert (40,) in summaries


@pytest.mark.slow
def test_flaky_server_and_its_pipeline(tmp_path: Path) -> None:
    """The commands that the example names, at a port that is free: every row is written, whatever the server does."""
    text = (EXAMPLES / "flaky_llm.yaml").read_text("utf-8")
    assert text.count(":8399/") == 2
    (command,) = re.findall(r"rxpipe (fake-llm --port 8399 .*)", text)
    with started(command.replace("8399", "0")) as url:
        config = tmp_path / "flaky_llm.yaml"
        config.write_text(text.replace("http://127.0.0.1:8399/v1", url), "utf-8")
        run_quietly(config, tmp_path)
    assert statuses(tmp_path / "flaky_questions.db") == {"written": 300}


@pytest.mark.slow
def test_flow_of_a_question_bank(tmp_path: Path) -> None:
    """Each question that is clear and unlike the others has a row, with the votes for its answer."""
    text = (EXAMPLES / "question_flow.yaml").read_text("utf-8")
    assert len(text.splitlines()) <= 30
    assert text.count(":8398/") == 1
    (tmp_path / "question_flow.py").write_bytes((EXAMPLES / "question_flow.py").read_bytes())
    with started("fake-llm --port 0") as url:
        config = tmp_path / "question_flow.yaml"
        config.write_text(text.replace("http://127.0.0.1:8398/v1", url), "utf-8")
        run_quietly(config, tmp_path)
    with closing(sqlite3.connect(tmp_path / "question_flow.db")) as database:
        votes = database.execute("SELECT value ->> 'votes', value ->> 'length' FROM results").fetchall()
    assert 30 < len(votes) < 60
    assert all(count == 3 and length for count, length in votes)


@pytest.mark.slow
def test_small_model_in_this_process(tmp_path: Path) -> None:
    """Five of its twenty rows, each with real text from all three stages: what takes long is the model."""
    small_model()
    run_quietly(EXAMPLES / "local_llm.yaml", tmp_path, "--count", "5", timeout=600)
    assert statuses(tmp_path / "local_questions.db") == {"written": 5}
    with closing(sqlite3.connect(tmp_path / "local_questions.db")) as database:
        texts = database.execute("SELECT question, answer, value ->> 'reason' FROM results").fetchall()
    assert all(text.strip() for row in texts for text in row)


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_is_short(example: Path) -> None:
    """It can be read at a glance: at most 60 lines."""
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 60


def run_quietly(config: Path, folder: Path, *options: str, timeout: float = 120) -> None:
    """Run a config, which ends well and without a word."""
    ended = run("-m", "rxpipe.cli", "run", config, "--quiet", *options, cwd=folder, timeout=timeout)
    assert (ended.returncode, ended.stderr) == (0, "")


@contextmanager
def started(command: str) -> Generator[str]:
    """A command of rxpipe that serves, from its first line on; the URL in that."""
    with Program("-m", "rxpipe.cli", *shlex.split(command), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("fake LLM at ").partition(",")[0]
        finally:
            process.terminate()


def statuses(path: Path) -> dict[str, int]:
    """How many rows of each status a database has."""
    with closing(sqlite3.connect(path)) as database:
        return dict(database.execute("SELECT status, count(*) FROM results GROUP BY status").fetchall())
