"""``--max-cost``, and other ends that a run gives itself: one message, and how to go on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rxpipe import load_pipeline, run_config
from rxpipe.errors import BudgetSpent

from .program import refused, rxpipe, write_config

CODE = """
import rxpipe
calls = []
def generate(i):
    rxpipe.record_usage(rxpipe.Usage(prompt_tokens=100, completion_tokens=10, cost=0.25))
    return i
def grade(i):
    calls.append(i)
    return {"score": 1}
"""
STOPS = """
import rxpipe
def work(i):
    if i == 2: raise rxpipe.StopRun("no credit is left")
    return {"score": 1}
"""


@pytest.fixture
def costly(folder: Path) -> Path:
    """A config whose calls cost 0.25 for each item, one at a time."""
    stages = [{"name": name, "call": f"MODULE:{name}", "concurrency": 1} for name in ("generate", "grade")]
    return write_config(folder, CODE, stages=stages, source={"range": 20})


@pytest.mark.parametrize("durable", [True, False])
def test_a_run_is_stopped_before_it_costs_more(folder: Path, costly: Path, durable: bool) -> None:
    """One message says what it is, and what goes on; nothing has failed."""
    if not durable:
        config = json.loads(costly.read_text())
        config["database"]["durable"] = False
        costly.write_text(json.dumps(config))
    ended = rxpipe("run", costly, "--max-cost", "1.1")
    assert (ended.code, ended.err) == (1, "")
    lines = ended.out.splitlines()
    assert lines[0] == "stopped by --max-cost 1.1: 1.00 spent"
    assert " = 4 written + 0 failed + " in lines[1]
    assert "400 prompt and 40 completion tokens, cost 1.00 (in the currency of your prices)" in lines
    goes_on = "the run is not finished: the same command with a higher --max-cost goes on with it"
    assert (goes_on in lines) == durable


def test_a_higher_limit_goes_on(folder: Path, costly: Path) -> None:
    """What was spent before counts; the same limit calls nothing."""
    assert rxpipe("run", costly, "--max-cost", "1").code == 1
    again = rxpipe("run", costly, "--max-cost", "1")
    assert again.out.startswith("stopped by --max-cost 1: 1.00 spent\n")
    assert "before: 400 prompt and 40 completion tokens, cost 1.00" in again.out
    ended = rxpipe("run", costly, "--max-cost", "5", "--json")
    report = json.loads(ended.out)
    assert (ended.code, report["stopped_by"], report["ended_early"]) == (0, None, None)
    assert (report["written"], report["written_before"], report["finished"]) == (16, 4, True)
    assert report["usage"] == {"prompt_tokens": 1600, "completion_tokens": 160, "cost": 4.0}
    assert report["usage_before"] == {"prompt_tokens": 400, "completion_tokens": 40, "cost": 1.0}
    assert [stage["usage"]["cost"] for stage in report["stages"]] == [4.0, 0.0]
    assert [stage["pushed_back"] for stage in report["stages"]] == [0, 0]


def test_the_limit_of_the_config(folder: Path, costly: Path) -> None:
    """It stops the run under its own name; the option overrides it, and Python has it, too."""
    costly.write_text(json.dumps({**json.loads(costly.read_text()), "max_cost": 1}))
    ended = rxpipe("run", costly)
    assert (ended.code, ended.out.splitlines()[0]) == (1, "stopped by max_cost 1: 1.00 spent")
    assert "the same command with a higher max_cost goes on with it" in ended.out
    assert rxpipe("run", costly, "--max-cost", "1.5").out.startswith("stopped by --max-cost 1.5: 1.50 spent\n")
    assert "max_cost   1\n" in re.sub(" +\n", "\n", rxpipe("check", costly).out)
    assert [load_pipeline(costly, max_cost=limit).max_cost for limit in (None, 2.5)] == [1, 2.5]
    with pytest.raises(BudgetSpent, match="max_cost is 1, "):
        run_config(costly, fresh=True)


def test_what_is_told_otherwise(folder: Path, costly: Path) -> None:
    """As JSON it is a field, and with --quiet one line."""
    told = json.loads(rxpipe("run", costly, "--max-cost", "1", "--json").out)
    assert (told["stopped_by"], told["ended_early"]) == ("--max-cost 1: 1.00 spent", None)
    ended = rxpipe("run", costly, "--max-cost", "1", "--quiet")
    assert ended == (1, "", "error: stopped by --max-cost 1: 1.00 spent\n")


@pytest.mark.parametrize("limit", ["0", "-1", "much", "inf", "nan"])
def test_what_is_no_limit(costly: Path, limit: str) -> None:
    """It is told with what is allowed."""
    ended = rxpipe("run", costly, "--max-cost", limit)
    assert ended.code == 2
    assert "allowed: a number above 0, like 2.50" in " ".join(ended.err.replace("│", " ").split())


def test_tokens_without_prices(folder: Path) -> None:
    """A limit that can bound nothing is told."""
    code = "import rxpipe\ndef work(i): rxpipe.record_usage(rxpipe.Usage(prompt_tokens=5))\n"
    ended = rxpipe("run", write_config(folder, code), "--max-cost", "1")
    assert ended.code == 0
    assert "no call told what it cost, so max_cost bounds nothing" in ended.err


def test_providers_without_prices(folder: Path) -> None:
    """They are told before anything is spent; those with prices are not."""
    providers = {
        "dear": {"model": "m", "base_url": "http://127.0.0.1:9/v1", "prices": {"prompt": 1, "completion": 2}},
        "unknown": {"model": "m", "base_url": "http://127.0.0.1:9/v1"},
        "mine": {"gguf": "m.gguf"},
    }
    config = write_config(folder, "def work(i): return i", providers=providers)
    ended = rxpipe("run", config, "--max-cost", "1")
    assert ended.code == 0
    (line,) = ended.err.splitlines()
    assert "calls of providers without prices are free to max_cost" in line
    assert line.endswith("providers=unknown")
    assert "without prices" not in rxpipe("run", config, "--fresh").err


def test_runs_and_show_tell_what_was_used(folder: Path, costly: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By run and by stage, as a table and for programs."""
    monkeypatch.setenv("COLUMNS", "200")
    rxpipe("run", costly, "--max-cost", "1")
    header, _, row = rxpipe("runs", "-c", costly).out.splitlines()[:3]
    assert "prompt  completion  cost" in header
    assert {"400", "40", "1.00"} <= set(row.split())
    shown = rxpipe("show", "latest", "-c", costly).out.splitlines()
    cost = "cost 1.00 (in the currency of your prices)"
    assert f"400 prompt and 40 completion tokens, {cost}, all workers together" in shown
    assert any(line.split()[4:7] == ["400", "40", "1.00"] for line in shown if line.startswith("generate"))
    usage = {"prompt_tokens": 400, "completion_tokens": 40, "cost": 1.0}
    assert json.loads(rxpipe("runs", "-c", costly, "--json").out)[0]["usage"] == usage
    found = json.loads(rxpipe("show", "latest", "-c", costly, "--json").out)
    assert (found["usage"], found["stages"][0]["usage"]) == (usage, usage)


def test_exported(folder: Path, costly: Path) -> None:
    """Each record has what was used for its item; where nothing was, there are no such fields."""
    rxpipe("run", costly, "--count", "2")
    assert rxpipe("export", "latest", "out.jsonl", "-c", costly).code == 0
    records = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [(one["prompt_tokens"], one["completion_tokens"], one["cost"]) for one in records] == [(100, 10, 0.25)] * 2
    (folder / "free").mkdir()
    free = write_config(folder / "free", "def work(i): return i")
    rxpipe("run", free)
    assert rxpipe("export", "latest", "free.jsonl", "-c", free).code == 0
    assert "cost" not in (folder / "free.jsonl").read_text()


def test_pruned(folder: Path, costly: Path) -> None:
    """What calls used is deleted, and told."""
    rxpipe("run", costly, "--count", "2")
    assert ", 1 worker, what 2 calls used\n" in rxpipe("prune", "latest", "-c", costly, "--dry-run").out


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_a_function_that_stops_the_run(folder: Path, scheduler: str) -> None:
    """It is told once, and the same command goes on; calls that were not made yet are not made."""
    config = write_config(folder, STOPS, source={"range": 5}, scheduler=scheduler)
    ended = rxpipe("run", config)
    assert (ended.code, ended.err) == (1, "error: the run ended early: no credit is left\n")
    assert "no credit" not in ended.out
    assert re.search(r" \+ 0 failed \+ [1-4] cancelled", ended.out)
    assert "the run is not finished: the same command goes on with it" in ended.out


def test_nothing_that_cannot_be_is_run(folder: Path, costly: Path) -> None:
    """A config that is wrong is told as ever."""
    assert "no-such.yaml" in refused("run", "no-such.yaml", "--max-cost", "1")
