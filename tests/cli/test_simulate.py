"""``rxpipe simulate``: what it prints, what it draws from, and what it refuses; numbers are tested with foresight."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from .program import refused, rxpipe, write_config
from .store_program import sql

FAILING = """
def one(i): raise AssertionError("called")
two = three = choose = one
"""
STAGES = ["one", "two", "three"]
LATENCIES = ["--latency=one=0.5-1.5", "--latency=two=lognormal(median=2, p95=6)", "--latency=three=0.25"]


def never_run(folder: Path, **keys: Any) -> Path:
    """A config whose functions fail the test if they are called."""
    return write_config(folder, FAILING, names=STAGES, **keys)


def has_run(folder: Path, count: int = 60) -> Path:
    """A config that has been run, with calls that take hardly any time."""
    code = "def one(i): return i\ndef two(i):\n  if i % 3 == 0: raise ValueError\n  return i\nthree = one"
    retry = {"max_attempts": 2, "initial": 0}
    config = write_config(folder, code, names=STAGES, source={"range": count}, pipeline_config={"retry": retry})
    assert rxpipe("run", config, "-q").code == 1  # as some items have failed
    return config


def simulated(*arguments: str | Path) -> str:
    """What a simulation prints that succeeds, and says nothing else."""
    ended = rxpipe("simulate", *arguments)
    assert (ended.code, ended.err) == (0, "")
    return ended.out


def document(*arguments: str | Path) -> Any:
    """The JSON that it prints."""
    return json.loads(simulated(*arguments, "--json"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection can be made."""

    def connect(*_: Any) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.mark.usefixtures("offline")
def test_without_a_record(folder: Path) -> None:
    """Nothing is called, connected to or written if all stages have a latency."""
    config = never_run(folder, source={"range": 40}, database={"url": "postgresql://nobody@127.0.0.1:1/none"})
    before = states_of(folder)
    lines = simulated(config, *LATENCIES, "--replications=5").splitlines()
    assert lines[0] == "pipeline: a simulation, all calls are drawn from the latencies given"
    rows = {line[:17].strip(): line[17:].split() for line in lines[4:14]}
    assert rows["rows"] == ["40"]
    assert rows["calls"] == ["120"]
    assert re.fullmatch(r"[\d.]+ s [\d.]+ s to [\d.]+ s", " ".join(rows["wall time"]))
    text = " ".join(" ".join(lines).split())
    assert "two holds the others up: 3 slots" in text
    assert "- two takes lognormal(median=2, p95=6) seconds, and no call of it fails" in text
    assert "- 6 simulations with seed 0" in text
    assert max(map(len, lines[:-7])) <= 80
    assert states_of(folder) == before


def states_of(folder: Path) -> dict[Path, tuple[int, int]]:
    """When each file was written last, and how large it is; modules are read."""
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_predicates_and_records_are_not_called(folder: Path) -> None:
    """Nor is what else of the user's a config names; a list of records is counted."""
    rows = [{"id": number} for number in range(7)]
    stages = [{"name": name, "call": f"MODULE:{name}", "when": "MODULE:choose"} for name in STAGES]
    config = write_config(folder, FAILING, source={"rows": rows, "id": "id"}, stages=stages)
    assert document(config, *LATENCIES, "--replications=2")["count"] == 7


@pytest.mark.slow
def test_from_a_record(folder: Path) -> None:
    """Calls are drawn from the latest run, with its failures; another count and another setting change the run."""
    config = has_run(folder)
    found = document(config, "--replications=4")
    assert (found["run"], found["count"], found["simulations"]) == (1, 60, 5)
    assert found["failed"]["middle"] == 20
    assert found["retried"]["middle"] == 20
    assert "calls are drawn from run 1" in simulated(config, "--replications=2")
    longer = document(
        config, "--count=300", "--latency=three=2", "--set=stages.three.concurrency=10", "--replications=2"
    )
    assert longer["count"] == 300
    assert [stage["slots"] for stage in longer["stages"]] == [3, 3, 10]
    assert longer["seconds"]["middle"] > 0.9 * 200 * 2 / 10
    assert longer["stages"][2]["busy"]["middle"] > 0.9
    assert document(config, "--seed=3", "--replications=2") == document(
        config, "--seed=3", "--replications=2", "--from=1"
    )
    until = document(config, "--until=10", "--replications=2")
    assert until["written"] == {"middle": 10, "low": 10, "high": 10}


@pytest.mark.slow
def test_which_run(folder: Path) -> None:
    """The latest run of the config; --from takes any other, --database looks elsewhere."""
    config = has_run(folder)
    rxpipe("run", config, "-q", "--fresh", "--count=40")
    assert document(config, "--replications=2")["run"] == 2
    assert document(config, "--replications=2", "--from=1")["run"] == 1
    both = document(config, "--replications=2", "--from=1,2")
    assert (both["run"], both["runs"]) == (2, [1, 2])
    assert "the record has 300 calls" in " ".join(both["assumptions"])
    assert "calls are drawn from runs 1 and 2" in simulated(config, "--replications=2", "--from=1, 2")
    assert refused("simulate", config, "--from=1,3").startswith("--from: there is no run 3")
    assert refused("simulate", config, "--from=1,1") == "--from: run 1 is named twice"
    elsewhere = write_config(
        folder, "def one(i): return i", names=["one"], name="pipeline", database={"url": "sqlite:///x"}
    )
    found = document(elsewhere, "--replications=2", f"--database=sqlite:///{folder / 'bank.db'}")
    assert (found["run"], found["stages"][0]["name"]) == (2, "one")
    assert not (folder / "x").exists()


@pytest.mark.slow
def test_length_of_the_source(folder: Path) -> None:
    """Where the config does not say it, it is the record's; that is told."""
    code = "def ids(): return iter(range(25))\ndef one(i): return i"
    config = write_config(folder, code, names=["one"], source={"call": "MODULE:ids"})
    assert refused("simulate", config, "--latency=one=1") == (
        "how many items? The source is not read to find out: give --count"
    )
    rxpipe("run", config, "-q")
    found = document(config, "--replications=2")
    assert found["count"] == 25
    assert "the source gives 25 items, as in the record; --count says otherwise" in found["assumptions"]
    assert document(config, "--latency=one=1", "--until=9", "--replications=2")["written"]["middle"] == 9


@pytest.mark.slow
def test_few_samples(folder: Path) -> None:
    """Too few recorded calls of a stage are refused; a few are told."""
    config = has_run(folder, 4)
    assert refused("simulate", config) == (
        "stage one: run 1 has 4 recorded calls of it; needed: 5 at least, or --latency "
        "'one=lognormal(median=2.1, p95=6)'"
    )
    rxpipe("run", config, "-q", "--fresh", "--count=12")
    assert "one has 12 recorded calls only" in document(config)["assumptions"]


@pytest.mark.slow
def test_stages_that_were_not_recorded(folder: Path) -> None:
    """A stage that the run did not have, and a run without recorded calls."""
    config = has_run(folder)
    code = json.loads(config.read_text(encoding="utf-8"))
    code["stages"].append({"name": "four", "call": code["stages"][0]["call"]})
    config.write_text(json.dumps(code), encoding="utf-8")
    assert refused("simulate", config).startswith("stage four: run 1 has 0 recorded calls of it; needed: 5 at least")
    assert document(config, "--latency=four=1", "--replications=2")["stages"][3]["slots"] == 3
    sql(f"sqlite:///{folder / 'bank.db'}", "delete from rxpipe_calls")
    assert refused("simulate", config, "--from=1").startswith("--from: run 1 has no recorded calls")
    assert "(run 1 has no recorded calls" in refused("simulate", config)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--latency=one"], "--latency: given the text 'one'; allowed: STAGE=DISTRIBUTION, like answering=lognormal("),
        (["--latency=on=1"], "--latency: no stage is called 'on'; did you mean 'one'? allowed: one, two, three"),
        (["--latency=one=fast"], "--latency: one: 'fast' is no distribution; allowed: seconds like 0.2"),
        (["--latency=one=1", "--latency=one=2"], "--latency: one: given twice; allowed: once for each stage"),
        (["--set=stages.too.timeout=3"], "--set: stages.too.timeout: no stage is called 'too'; did you mean 'two'?"),
        (["--set=stages.two.timout=3"], "--set: stages.two.timout: unknown key; did you mean 'timeout'?"),
        (["--set=stages.two.timeout=never"], "--set: stages.two.timeout: given the text 'never'; allowed: a number"),
        (["--set=timeout"], "--set: 'timeout' is no setting; allowed: KEY=VALUE"),
        (["--server=50"], "--server: given the text '50'; allowed: slots=N, rate=N/s, rate=N/min, or both, like "),
        (["--server=slots=0"], "--server: given the text 'slots=0'; allowed: slots=N"),
        (["--server=rate=0/s"], "--server: given the text 'rate=0/s'; allowed: slots=N"),
        (["--server=rate=45"], "--server: given the text 'rate=45'; allowed: slots=N"),
        (["--server=slots=5,slots=6"], "--server: given the text 'slots=5,slots=6'; allowed: slots=N"),
        (["--from=3"], "--from: sqlite:"),
        (["--database=nowhere"], "--database: given the text 'nowhere'; allowed: a database URL"),
        ([], "stage one: there are no recorded calls to draw from (sqlite:"),
    ],
)
def test_refused(folder: Path, options: list[str], told: str) -> None:
    """One clear message says what is wrong, and what is allowed."""
    message = refused("simulate", never_run(folder), *options)
    assert message.startswith(told)
    assert "\n" not in message


def test_a_server_that_refuses_calls(folder: Path) -> None:
    """Beyond its rate; that is told."""
    config = never_run(folder, source={"range": 40})
    found = document(config, *LATENCIES, "--server=slots=50, rate=120/min", "--replications=1")
    assert found["seconds"]["middle"] > (120 - 2) / 2
    assert found["pushed_back"]["middle"] > 0
    assert found["assumptions"][-2:] == [
        "the server takes 50 calls at once; others wait there",
        "the server refuses what is beyond 2 calls a second",
    ]


def test_until_of_staged(folder: Path) -> None:
    """The strategy staged has no until."""
    config = never_run(folder, strategy="staged")
    assert refused("simulate", config, *LATENCIES, "--until=3").startswith("--until: strategy staged takes all items")


@pytest.mark.parametrize(
    "options",
    [["--count=0"], ["--until=x"], ["--from=last"], ["--from=1,"], ["--replications=0"], ["--seed=-1"], ["--bogus"]],
)
def test_bad_usage(folder: Path, options: list[str]) -> None:
    """What no option allows is refused before anything is read."""
    ended = rxpipe("simulate", folder / "none.yaml", *options)
    assert (ended.code, ended.out) == (2, "")
    assert options[0].split("=")[0] in ended.err
