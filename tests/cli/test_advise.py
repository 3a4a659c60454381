"""``rxpipe advise``: what it prints, the YAML to paste, exit codes, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rxpipe.config import load_config

from .program import refused, rxpipe, write_config
from .test_simulate import FAILING, STAGES

OPTIONS = ["--count=40", "--latency=one=1", "--latency=two=2", "--latency=three=0.5", "--replications=2"]
TOTAL = "--at-most=total=14"


@pytest.fixture
def config(folder: Path) -> Path:
    """A config that has never been run, with three slots a stage."""
    return write_config(folder, FAILING, names=STAGES)


def document(*arguments: str | Path, code: int = 0) -> Any:
    """The JSON that it prints."""
    ended = rxpipe("advise", *arguments, "--json")
    assert (ended.code, ended.err) == (code, "")
    return json.loads(ended.out)


@pytest.mark.slow
def test_soonest(config: Path) -> None:
    """What each change brings, the run now and then, and the YAML, which holds with the command that is told."""
    ended = rxpipe("advise", config, *OPTIONS, TOTAL)
    assert (ended.code, ended.err) == (0, "")
    lines = [line.rstrip() for line in ended.out.splitlines()]
    assert lines[0] == ("pipeline: the settings that finish soonest, all calls are drawn from the latencies given")
    assert re.fullmatch(r"two +3 → 8 +[\d.]+ +\+\d+%", lines[4])
    assert re.fullmatch(r"one +3 → 4 +[\d.]+ +\+\d+%", lines[5])
    assert any(re.fullmatch(r"slots +9 +14", line) for line in lines)
    block = ended.out[ended.out.index("stages:") : ended.out.index("rxpipe simulate")]
    assert yaml.safe_load(block) == {
        "stages": [
            {"name": "one", "concurrency": 4},
            {"name": "two", "concurrency": 8},
            {"name": "three", "concurrency": 2},
        ]
    }
    found = document(config, *OPTIONS, TOTAL)
    assert found["yaml"] == block.strip()
    (command,) = [line for line in lines if line.startswith("rxpipe simulate")]
    options = command.removesuffix(" shows more of it").split()[3:]
    simulated = json.loads(rxpipe("simulate", config, *OPTIONS, *options, "--json").out)
    assert simulated["seconds"] == found["after"]["seconds"]


@pytest.mark.slow
def test_deadline(config: Path) -> None:
    """The fewest slots for it; 1 if it cannot be met."""
    found = document(config, *OPTIONS, "--deadline=1m")
    assert found["deadline"] == 60
    assert found["meets_deadline"] is True
    assert list(found["settings"].values()) == [1, 2, 1]
    ended = rxpipe("advise", config, *OPTIONS, "--deadline=1m")
    assert "meets the deadline of 1:00 in 19 of 20 cases" in ended.out
    missed = rxpipe("advise", config, *OPTIONS, "--deadline=3s", TOTAL)
    assert missed.code == 1
    assert "no settings meet the deadline of 3 s: these come nearest" in missed.out


@pytest.mark.slow
def test_bounds(config: Path) -> None:
    """Of a stage, of all, and of those that are given a provider."""
    found = document(config, *OPTIONS, "--at-most=two=5", "--at-most=one=9")
    assert found["settings"]["stages.two.concurrency"] == 5
    data = json.loads(config.read_text(encoding="utf-8"))
    data["providers"] = {"main": {"model": "m", "base_url": "http://127.0.0.1:1/v1"}}
    data["stages"][1] = {"name": "two", "call": "rxpipe.questions.llm:answer", "with": {"provider": "main"}}
    data["stages"][2] = {"name": "three", "call": "rxpipe.questions.llm:grade", "with": {"provider": "main"}}
    config.write_text(json.dumps(data), encoding="utf-8")
    found = document(config, *OPTIONS, "--at-most=main.calls=5", "--at-most=one=9")
    assert found["settings"]["stages.two.concurrency"] + found["settings"]["stages.three.concurrency"] == 5


@pytest.mark.slow
def test_items_at_once(config: Path) -> None:
    """With ``per_item``, it is the config's bound on items."""
    found = document(config, *OPTIONS, "--set=strategy=per_item", "--at-most=total=6")
    assert found["yaml"] == "pipeline_config:\n  parallel_pipelines: 6  # was 3"
    keys = yaml.safe_load(found["yaml"])["pipeline_config"]
    assert load_config(config).with_settings({f"pipeline_config.{key}": value for key, value in keys.items()})


@pytest.mark.slow
def test_nothing_to_change(config: Path) -> None:
    """It says so; there is no YAML."""
    ended = rxpipe(
        "advise",
        config,
        *OPTIONS,
        TOTAL,
        "--set=stages.two.concurrency=8",
        "--set=stages.one.concurrency=4",
        "--set=stages.three.concurrency=2",
    )
    assert ended.code == 0
    assert "no change gains 1%, and no fewer slots would do" in ended.out
    assert "stages:" not in ended.out


@pytest.mark.slow
def test_cost(folder: Path) -> None:
    """1 if it costs more than it may, by what recorded calls told."""
    code = "import rxpipe\ndef one(i):\n  rxpipe.record_usage(rxpipe.Usage(prompt_tokens=9, cost=0.5))\n  return i"
    config = write_config(folder, code, names=["one"], source={"range": 30})
    rxpipe("run", config, "-q")
    found = document(config, "--count=60", "--set=max_cost=20", "--at-most=one=4", "--replications=2", code=1)
    assert found["is_paid"] is False
    assert "the run costs 30, more than 20, whatever the settings: fewer items cost less" in found["notes"]
    assert document(config, "--max-cost=20", "--at-most=one=4", "--replications=2")["is_paid"] is True


def test_no_row(folder: Path) -> None:
    """Where no item gets through, there is nothing to advise."""
    config = write_config(
        folder,
        "def one(i): raise ValueError",
        names=["one"],
        source={"range": 9},
        pipeline_config={"retry": {"initial": 0}},
    )
    rxpipe("run", config, "-q")
    assert refused("advise", config) == "no item gets through all stages in a simulation: there is nothing to advise"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--at-most=five=3"], "--at-most: there is no stage called 'five'; allowed: one, two, three, total"),
        (["--at-most=two"], "--at-most: given the text 'two'; allowed: NAME=N, like answering=64, or total=100"),
        (["--at-most=two=0"], "--at-most: two: given the text '0'; allowed: a whole number, 1 or more"),
        (["--at-most=two=3", "--at-most=two=4"], "--at-most: two: given twice; allowed: once"),
        (["--at-most=total=2"], "--at-most: 2 for total is too few: 3 stages take one each"),
        (["--set=stages.two.concurrency=0"], "--set: stages.two.concurrency: given 0; allowed:"),
        (["--from=1"], "--from: sqlite:"),
    ],
)
def test_refused(config: Path, options: list[str], told: str) -> None:
    """One clear message says what is wrong, and what is allowed."""
    message = refused("advise", config, *OPTIONS, *options)
    assert message.startswith(told)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 7200),
        ("1h30m", 5400),
        ("90s", 90),
        ("45m", 2700),
        ("1.5h", 5400),
        ("30", 30),
        ("2 h 5 min", 7500),
        ("500ms", 0.5),
        ("1s 500ms", 1.5),
    ],
)
def test_times(text: str, seconds: float) -> None:
    """Durations, as people write them."""
    from rxpipe.cli.parser.values import duration_of

    assert duration_of(text) == seconds


@pytest.mark.parametrize(
    "option",
    [
        "--deadline=",
        "--deadline=soon",
        "--deadline=0",
        "--deadline=-1h",
        "--deadline=1..h",
        "--max-cost=0",
        "--max-cost=nan",
        "--max-cost=much",
    ],
)
def test_bad_usage(folder: Path, option: str) -> None:
    """What no option allows is refused before anything is read."""
    ended = rxpipe("advise", folder / "none.yaml", option)
    assert (ended.code, ended.out) == (2, "")
    assert option.split("=")[0] in ended.err
