"""``rxpipe cache``: which results there are, and how they are deleted; and what the other commands tell of hits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from store.stores import Stores

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage, Usage, record_usage

from .program import refused, rxpipe
from .store_program import document, lines, sql

pytest_plugins = ("store.store_fixtures",)
pytestmark = pytest.mark.usefixtures("nowhere")


def write(number: int) -> dict[str, Any]:
    """The first stage."""
    record_usage(Usage(prompt_tokens=10, completion_tokens=2, cost=0.25))
    return {"number": number}


def grade(value: dict[str, Any]) -> float:
    """The second stage, which costs nothing."""
    return 1.0


def run(url: str, count: int, *, version: int = 1) -> None:
    """A new run."""
    stages = Stage("writing", write, cache=True, version=version), Stage("grading", grade, cache=True)
    Pipeline(*stages, sink=DatabaseSink(url, table="bank"), store=RunStore(fresh=True), name="bank").run(range(count))


def fill_cache(url: str) -> None:
    """Run 1: results of two items; run 2: these are used again, beside one new item; run 3: of another version."""
    run(url, 2)
    run(url, 3)
    run(url, 1, version=2)


@pytest.fixture
def cache_in(nowhere: Path, stores: Stores, store_kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A store with results of four calls of a function, and three of another, which the environment names."""
    with stores.copy(store_kind, fill_cache, nowhere) as url:
        monkeypatch.setenv("RXPIPE_DATABASE", url)
        monkeypatch.setenv("COLUMNS", "120")
        yield url


WRITE, GRADE = f"{__name__}:write", f"{__name__}:grade"


def test_list(cache_in: str) -> None:
    """By function: versions, results, what they took, and when the last one came."""
    header, _, *rows = lines("cache")
    assert header.split() == ["function", "versions", "results", "prompt", "completion", "cost", "newest"]
    assert [row.split()[:6] for row in rows] == [
        [GRADE, "1", "3", "0", "0", "0"],
        [WRITE, "2", "4", "40", "8", "1.00"],
    ]
    assert [row.split()[0] for row in lines("cache", "--stage", WRITE)[2:]] == [WRITE]


def test_list_as_json(cache_in: str) -> None:
    """The same for programs."""
    graded, written = document("cache")
    assert graded.pop("newest") <= written.pop("newest")
    usage = {"prompt_tokens": 40, "completion_tokens": 8, "cost": 1.0}
    assert written == {"call": WRITE, "versions": 2, "results": 4, "usage": usage}
    assert graded["results"] == 3
    assert document("cache", "--older-than", "1") == []


def test_clear(cache_in: str) -> None:
    """All, and runs and rows stay."""
    assert lines("cache", "--clear") == [
        f"deleted 3 results of {GRADE}",
        f"deleted 4 results of {WRITE}, which took 40 prompt and 8 completion tokens, cost 1.00 "
        "(in the currency of your prices)",
    ]
    assert lines("cache") == ["no results in the cache"]
    assert lines("cache", "--clear") == ["no results in the cache to delete"]
    assert [one["written"] for one in document("runs")] == [2, 3, 1]


def test_clear_some(cache_in: str) -> None:
    """Of a function, or that are older."""
    sql(cache_in, f"UPDATE rxpipe_cache SET at = at - 86400 * 3 WHERE call = '{WRITE}' AND version = '1'")
    assert lines("cache", "--clear", "--older-than", "4") == ["no results in the cache to delete"]
    told = "3 results of {}, which took 30 prompt and 6 completion tokens, cost 0.75 (in the currency of your prices)"
    assert lines("cache", "--clear", "--older-than", "2", "--dry-run") == ["would delete " + told.format(WRITE)]
    assert lines("cache", "--clear", "--older-than", "2") == ["deleted " + told.format(WRITE)]
    assert lines("cache", "--clear", "--stage", GRADE) == [f"deleted 3 results of {GRADE}"]
    assert [(one["call"], one["results"]) for one in document("cache")] == [(WRITE, 1)]


def test_what_is_refused(cache_in: str) -> None:
    """A function that there is nothing of, and options that do not go together."""
    assert refused("cache", "--stage", WRITE[:-1]).startswith("--stage: the cache has no results of")
    assert f"did you mean '{WRITE}'?" in refused("cache", "--clear", "--stage", WRITE[:-1])
    assert rxpipe("cache", "--dry-run").code == 2
    assert rxpipe("cache", "--clear", "--json").code == 2
    assert len(document("cache")) == 2


def test_prune_leaves_the_cache_alone(cache_in: str) -> None:
    """It is of no run."""
    assert rxpipe("prune", "--finished").code == 0
    assert document("runs") == []
    assert [one["results"] for one in document("cache")] == [3, 4]
    assert sql(cache_in, "SELECT * FROM rxpipe_usage") == []


def test_show(cache_in: str) -> None:
    """How often a run used a result again, and what that saved; nothing of it where it did not."""
    shown = lines("show", "2")
    assert (
        "saved by the cache: 4 calls, 20 prompt and 4 completion tokens, cost 0.50 (in the currency of your prices)"
        in shown
    )
    header = next(line for line in shown if line.startswith("stage"))
    assert header.split()[:6] == ["stage", "checkpoints", "failed", "calls", "failed", "cached"]
    first, second = document("show", "2")["stages"]
    assert (first["cached"], first["saved"]["prompt_tokens"], first["usage"]["prompt_tokens"]) == (2, 20, 10)
    assert (second["cached"], second["saved"]["cost"]) == (2, 0.0)
    assert not any("saved by" in line for line in lines("show", "1"))


@pytest.mark.slow
def test_a_run_of_a_config(nowhere: Path) -> None:
    """The second run of it says what it has saved, in words and as JSON."""
    (nowhere / "cached_stages.py").write_text("def double(value):\n    return 2 * value\n")
    config = nowhere / "bank.yaml"
    config.write_text(
        "source: {range: [0, 5]}\nstages: [{name: a, call: 'cached_stages:double', cache: true}]\n"
        "database: {url: 'sqlite:///bank.db'}\n"
    )
    assert "cache" not in rxpipe("run", config, "--quiet").out
    ended = rxpipe("run", config, "--fresh", "--quiet", "--json")
    report = json.loads(ended.out)
    (stage,) = report["stages"]
    assert (stage["cached"], stage["done"], report["saved"]["cost"]) == (5, 0, 0.0)
    assert "saved by the cache: 5 calls" in rxpipe("run", config, "--fresh").out
    assert lines("cache", "-c", config)[2].split()[:3] == ["cached_stages:double", "1", "5"]


def test_where_no_results_are_kept(nowhere: Path) -> None:
    """A config whose strategy was changed is refused; ``preview`` calls the functions."""
    (nowhere / "uncached_stages.py").write_text("def double(value):\n    return 2 * value\n")
    config = nowhere / "bank.yaml"
    config.write_text("source: {range: 3}\nstages: [{name: a, call: 'uncached_stages:double', cache: true}]\n")
    ended = rxpipe("run", config, "--strategy", "staged")
    told = f"error: {config}: stages[0].cache: given true; allowed: false, where no results are kept"
    assert (ended.code, ended.err.splitlines()[-1]) == (2, told)
    for _ in range(2):
        assert rxpipe("preview", config).code == 0
    assert not (nowhere / "bank.db").exists()
