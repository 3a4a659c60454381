"""``rxpipe run`` again, and what its options change about that."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .program import refused, rows, run_program, rxpipe, started, write_config

# What is called is written into a file, and a file called "fail" has every second call raise.
CODE = """
import os, pathlib, sys, time
here = pathlib.Path(__file__).parent
def note(name, value):
    with open(here / "ledger", "a") as ledger:
        ledger.write(f"{name} {value}\\n")
def make(i):
    note("make", i)
    return {"id": i}
def work(value):
    note("work", value["id"])
    if (here / "fail").exists() and value["id"] % 2:
        raise ValueError(f"no answer to {value['id']}")
    return value
def wait(value):
    note("wait", value["id"])
    print("a call has started", file=sys.stderr, flush=True)
    while not (here / "go").exists():
        time.sleep(0.01)
    return value
"""
ONCE = {"pipeline_config": {"retry": {"max_attempts": 1}}}


def config_of(folder: Path, **keys: Any) -> Path:
    return write_config(folder, CODE, **{"names": ["make", "work"], **ONCE, **keys})


def ledger(folder: Path) -> list[str]:
    return sorted((folder / "ledger").read_text().splitlines())


def test_the_same_command_again(folder: Path) -> None:
    """It calls nothing that has returned, takes new IDs, and says what was there before."""
    config = config_of(folder)
    assert rxpipe("run", config).code == 0
    again = rxpipe("run", config)
    assert again.code == 0
    assert "run 1 was continued: 3 written and 0 failed before; nothing was left to do" in again.out
    more = rxpipe("run", config, "--count", "5")
    assert "2 taken = 2 written" in more.out
    assert len(ledger(folder)) == 10


def test_the_report_says_what_was_before(folder: Path) -> None:
    """As JSON, too, with the run's number."""
    config = config_of(folder)
    rxpipe("run", config)
    report = json.loads(rxpipe("run", config, "--count", "4", "--json").out)
    assert (report["run"], report["taken"], report["written_before"], report["failed_before"]) == (1, 1, 3, 0)


def test_a_hint_names_the_config(folder: Path) -> None:
    """What is typed as it is printed changes the database of this run; with ``--database``, that one."""
    path = config_of(folder)
    rxpipe("run", path)
    with closing(sqlite3.connect(folder / "bank.db")) as connection, connection:
        connection.execute("DELETE FROM results")
    assert f"rxpipe requeue 1 --rows -c {path} has" in rxpipe("run", path).err
    url = f"sqlite:///{folder / 'bank.db'}"
    assert f"rxpipe requeue 1 --rows --database {url} has" in rxpipe("run", path, "--database", url).err


def test_fresh(folder: Path) -> None:
    """Everything is called again, in a run of its own."""
    config = config_of(folder)
    rxpipe("run", config)
    ended = rxpipe("run", config, "--fresh")
    assert "3 taken = 3 written" in ended.out
    assert ended.out.rstrip().endswith(", run 2")
    assert len(ledger(folder)) == 12


def test_failed_items_are_told_each_time(folder: Path) -> None:
    """The exit code is about the whole run, and the summary names the commands that help."""
    config = config_of(folder)
    (folder / "fail").touch()
    ended = rxpipe("run", config)
    assert ended.code == 1
    assert f"rxpipe failures 1 -c {config} lists what failed" in ended.out
    assert f"rxpipe requeue 1 -c {config} has it tried again" in ended.out
    assert "2 failed items" in rxpipe("failures", "1", "-c", config).out
    again = rxpipe("run", config)
    assert again.code == 1
    told = " ".join(again.out.split())
    assert "1 written and 2 failed before; nothing was left to do, requeue has those tried again" in told
    quiet = rxpipe("run", config, "--quiet")
    assert (quiet.code, quiet.out) == (1, "")
    assert "run 1: 2 items failed before" in quiet.err


def test_changed_stages(folder: Path) -> None:
    """They are refused with what changed; --resume calls the changed ones again."""
    config = config_of(folder)
    rxpipe("run", config)
    stages = json.loads(config.read_text())
    stages["stages"][1]["version"] = 2
    config.write_text(json.dumps(stages))
    message = refused("run", config)
    assert "run 1 has other stages: stage work has version 2 instead of no version" in message
    assert "keeps what make returned, and calls the rest again, also for 3 items" in message
    assert "--resume" in message
    assert "--fresh" in message
    assert "3 taken = 3 written" in rxpipe("run", config, "--resume").out
    assert [line.split()[0] for line in ledger(folder)] == ["make"] * 3 + ["work"] * 6


@pytest.mark.parametrize("option", ["--fresh", "--resume"])
def test_there_is_nothing_to_go_on_with(folder: Path, option: str) -> None:
    """Without a store neither option means anything."""
    config = config_of(folder, database={"url": "sqlite:///bank.db", "durable": False})
    assert "keeps nothing to go on with" in refused("run", config, option)


def test_fresh_and_resume(folder: Path) -> None:
    """They contradict each other."""
    assert "give one of them" in refused("run", config_of(folder), "--fresh", "--resume")


def test_not_durable(folder: Path) -> None:
    """Nothing is kept but the rows, and everything is called again."""
    config = config_of(folder, database={"url": f"sqlite:///{folder / 'bank.db'}", "durable": False})
    for _ in range(2):
        assert "3 taken = 3 written" in rxpipe("run", config).out
    tables = rows(folder / "bank.db", "select name from sqlite_master where type = 'table'")
    assert sorted(tables) == [("results",), ("rxpipe_tables",)]  # whose rows these are


def test_staged_is_not_durable(folder: Path) -> None:
    """It runs without a store, unless one is asked for."""
    ended = rxpipe("run", config_of(folder), "--strategy", "staged")
    assert "3 taken = 3 written" in ended.out
    assert "run 1" not in ended.out
    assert "staged keeps nothing to go on with" in ended.err
    asked = config_of(folder, strategy="staged", database={"url": "sqlite:///bank.db", "durable": True})
    assert "database.durable: given true; allowed: false, or another strategy than staged" in refused("run", asked)


def test_a_database_that_cannot_hold_a_store(folder: Path) -> None:
    """The error names the key that does without."""
    message = refused("run", config_of(folder), "--database", "mysql+pymysql://root@127.0.0.1/test")
    assert "a run store needs SQLite or PostgreSQL, not mysql" in message
    assert "database.durable: false" in message


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "least"), [("2", 2), ("40%", 5)])
def test_too_many_failures(folder: Path, limit: str, least: int) -> None:
    """The run stops early, lets the rest finish, and names the commonest error; later it goes on."""
    (folder / "fail").touch()
    config = config_of(folder, source={"range": 5000})
    ended = rxpipe("run", config, "--max-failures", limit, "--json")
    report = json.loads(ended.out)
    assert ended.code == 1
    assert report["taken"] == report["written"] + report["failed"] < 5000
    assert report["failed"] >= least
    assert report["stopped_by"].startswith(f"--max-failures {limit}: ")
    assert "in work: ValueError: no answer to " in report["stopped_by"]
    (folder / "fail").unlink()
    rest = json.loads(rxpipe("run", config, "--json").out)
    assert rest["taken"] + report["taken"] == 5000


def test_few_failures_are_no_share(folder: Path) -> None:
    """A share is of twenty items at least: the first one that fails is not all of them."""
    (folder / "fail").touch()
    report = json.loads(rxpipe("run", config_of(folder), "--max-failures", "10%", "--json").out)
    assert (report["taken"], report["stopped_by"]) == (3, None)


@pytest.mark.parametrize("limit", ["0", "-1", "x", "100%", "%", "1.5"])
def test_limits_that_cannot_be(folder: Path, limit: str) -> None:
    """The message says what can."""
    ended = rxpipe("run", config_of(folder), f"--max-failures={limit}")
    assert ended.code == 2
    assert "allowed: a count like 20, or a share like 5%" in " ".join(ended.err.replace("│", " ").split())


@pytest.mark.slow
def test_another_process_has_the_file(folder: Path) -> None:
    """It is refused with its number and the way out, and the first one goes on."""
    config = config_of(folder, names=["make", "wait"])
    with started("run", config, "--json", cwd=folder) as program:
        program.wait_for("a call has started")
        second = run_program("run", config, cwd=folder)
        (folder / "go").touch()
        first = program.end()
    assert second.code == 2
    assert "is in use by process " in second.err
    assert "use PostgreSQL" in second.err
    assert json.loads(first.out)["written"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_calls_that_do_not_end_in_time(folder: Path, number: signal.Signals) -> None:
    """After the grace they are given up, and their items are ready for the next run, which calls only them again."""
    config = config_of(folder, names=["make", "wait"])
    with started("run", config, "--json", "--grace", "0.1", cwd=folder) as program:
        program.wait_for("a call has started", 3)
        program.send(number)
        program.wait_for("within 0.1 s")
        ended = program.end()
    assert ended.code == 128 + number
    assert json.loads(ended.out)["cancelled"] == 3
    assert rows(folder / "bank.db", "select state, stage, crashes from rxpipe_items") == [("ready", 1, 0)] * 3
    (folder / "go").touch()
    assert rxpipe("run", config).code == 0
    assert ledger(folder) == sorted([f"make {i}" for i in (1, 2, 3)] + [f"wait {i}" for i in (1, 2, 3)] * 2)


@pytest.mark.slow
def test_a_killed_run_goes_on(folder: Path) -> None:
    """Only the calls that had not returned are made again."""
    config = config_of(folder, names=["make", "wait"])
    with started("run", config, cwd=folder) as program:
        program.wait_for("a call has started", 3)
        wait_for_checkpoints(folder / "bank.db", 3)
        program.send(signal.SIGKILL)
        program.end()
    (folder / "go").touch()
    ended = run_program("run", config, cwd=folder)
    assert ended.code == 0
    assert "3 taken = 3 written" in ended.out
    assert ledger(folder) == sorted([f"make {i}" for i in (1, 2, 3)] + [f"wait {i}" for i in (1, 2, 3)] * 2)


def wait_for_checkpoints(database: Path, count: int) -> None:
    """They are committed soon after the call behind them has begun."""
    deadline = time.monotonic() + 30
    while rows(database, "select count(*) from rxpipe_checkpoints") != [(count,)]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_path_of_sqlite_starts_from_the_current_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from the config's: run from another directory, the same config has another database."""
    config = config_of(folder, database={"url": "sqlite:///own.db"})
    for name in ("here", "there"):
        (folder / name).mkdir()
        monkeypatch.chdir(folder / name)
        told = rxpipe("run", config).out
        assert "3 taken = 3 written" in told
        assert f"rows: sqlite:///own.db, table results (new database: {folder / name / 'own.db'}), run 1\n" in told
        assert "new database" not in rxpipe("run", config).out
    assert not (folder / "own.db").exists()
