"""``rxpipe run --stay``, ``rxpipe submit`` and ``rxpipe forget``."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import Program
from servers import POSTGRES, answering, own_database
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from structlog.testing import capture_logs
from typer.testing import CliRunner

from rxpipe.cli.commands.staying import warn_of_default_source
from rxpipe.cli.parser.configs import app
from rxpipe.config import load_config

from .program import refused, rows, rxpipe, started, write_config

CODE = """
import os, pathlib, time
here = pathlib.Path(__file__).parent
def work(value):
    item = value["id"] if isinstance(value, dict) else value
    with open(here / "ledger", "a") as ledger:
        ledger.write(f"{os.getpid()} {item}\\n")
    while (here / "wait").exists():
        time.sleep(0.01)
    return {"id": item, "value": value}
"""


def until(there: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 50
    while not there():
        assert time.monotonic() < deadline, what
        time.sleep(0.03)


def ledger(folder: Path) -> list[list[str]]:
    """Which process was called with which item."""
    path = folder / "ledger"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def called(folder: Path) -> list[str]:
    """The items that were called with."""
    return sorted(item for _, item in ledger(folder))


def test_submit(folder: Path) -> None:
    """It says how many are new, and who takes them; the next run does them once, in the types of the source."""
    config = write_config(folder, CODE)
    told = rxpipe("submit", config, "7", "8", "x")
    assert (told.code, told.err) == (0, "")
    assert told.out == (
        "3 items submitted to run 1 = 3 new + 0 known before\n"
        f"no worker is at work on it: `rxpipe run {config} --stay` takes them\n"
    )
    lines = '7\n"9"\n\n{"id": "r", "topic": "sums"}\n'
    given = CliRunner().invoke(app, ["submit", str(config), "--from", "-"], input=lines)
    assert given.stdout.startswith("3 items submitted to run 1 = 2 new + 1 known before\n")
    assert rxpipe("run", config).code == 0
    assert called(folder) == ["1", "2", "3", "7", "8", "9", "r", "x"]
    values = dict(rows(folder / "bank.db", "select id, value from results"))
    assert [json.loads(values[key])["value"] for key in ("7", "9", "r")] == [7, "9", {"id": "r", "topic": "sums"}]


def test_forget(folder: Path) -> None:
    """What was deleted is told; the row is gone."""
    config = write_config(folder, CODE)
    rxpipe("run", config)
    told = rxpipe("forget", "2", "-c", config, "--dry-run")
    assert told.out.startswith(
        "would delete: 1 item, 1 row, 1 value, 1 call, 0 prompts, 0 failed calls, 0 cached results\n"
    )
    assert rxpipe("forget", "2", "-c", config, "--yes").out.startswith("deleted: 1 item, 1 row, ")
    assert sorted(row[0] for row in rows(folder / "bank.db")) == ["1", "3"]
    assert "there is no item 2" in refused("forget", "2", "-c", config)


def test_forget_many(folder: Path) -> None:
    """IDs from a file, or standard input, one a line; as a query prints them."""
    config = write_config(folder, CODE, source={"range": 5})
    rxpipe("run", config)
    (folder / "ids.txt").write_text("2\n\n 4 \n")
    assert rxpipe("forget", "--from", folder / "ids.txt", "-c", config).out.startswith("deleted: 2 items, 2 rows, ")
    given = CliRunner().invoke(app, ["forget", "--from", "-", "1", "-c", str(config)], input="3\n")
    assert given.stdout.startswith("deleted: 2 items, 2 rows, ")
    assert [row[0] for row in rows(folder / "bank.db")] == ["5"]
    (folder / "ids.txt").write_text("5\n6\n")
    assert "there is no item 6" in refused("forget", "--from", folder / "ids.txt", "-c", config)
    assert [row[0] for row in rows(folder / "bank.db")] == ["5"]
    (folder / "ids.txt").write_text("\n")
    assert refused("forget", "--from", folder / "ids.txt", "-c", config).endswith("there are no IDs")
    assert refused("forget", "--from", "none.txt", "-c", config) == "--from none.txt: no such file"
    assert refused("forget", "-c", config) == "forget: give IDs, or --from FILE"


def test_what_is_refused(folder: Path) -> None:
    """One sentence each."""
    config = write_config(folder, CODE)
    assert refused("run", config, "--every", "5s").startswith("--every says how often")
    assert refused("run", config, "--stay", "--until", "3").startswith("--until: it ends a run")
    assert "'soon'; allowed: a duration" in rxpipe("run", config, "--stay", "--every", "soon").err
    assert refused("submit", config) == "submit: give IDs, or --from FILE"
    (folder / "ids").write_text('{"topic": 1}\n[1]\n{"id"\n')
    message = refused("submit", config, "--from", "ids")
    assert "line 1: no field 'id' to be the ID" in message
    assert "line 2 (a list [1]): neither an ID nor a JSON object" in message
    assert "line 3: begins like JSON, and is none" in message
    plain = write_config(folder, CODE, database={"url": f"sqlite:///{folder / 'bank.db'}", "durable": False})
    assert refused("run", plain, "--stay") == "--stay takes what others submit from a run store, and this run has none"
    assert refused("submit", plain, "a").endswith("and this config has none")
    recorded = write_config(folder, CODE, source={"rows": [{"id": 1}], "id": "id"})
    assert "the stages get records, not IDs" in refused("submit", recorded, "2")


def test_submitted_items_only(folder: Path) -> None:
    """An empty list of rows is a source of nothing; IDs and records may be submitted."""
    config = write_config(folder, CODE, source={"rows": [], "id": "id"})
    assert "source     0 records" in rxpipe("check", config).out
    assert rxpipe("submit", config, "7").code == 0
    (folder / "items").write_text('8\n{"id": "r"}\n')
    assert rxpipe("submit", config, "--from", "items").code == 0
    assert rxpipe("run", config).code == 0
    assert called(folder) == ["7", "8", "r"]
    assert "how many items?" in refused("simulate", config, "--latency", "work=1")


def test_nobody_chose_a_source(folder: Path) -> None:
    """A worker that stays says where the IDs 1 to 100 come from, unless the config or --count says it."""
    path = folder / "pipeline.yaml"
    path.write_text("strategy: per_item")
    with capture_logs() as logs:
        warn_of_default_source(load_config(path), count=3)
        path.write_text("source: {range: 3}")
        warn_of_default_source(load_config(path), count=None)
        assert logs == []
        path.write_text("strategy: per_item")
        warn_of_default_source(load_config(path), count=None)
    assert [log["hint"] for log in logs] == ["for submitted items only, write `source: {rows: [], id: id}`"]


@pytest.mark.slow
def test_a_worker_that_stays(folder: Path) -> None:
    """It reads its source again, takes what others submit, says that it waits, and drains on SIGTERM."""
    source = folder / "ids.txt"
    source.write_text("a\nb\n")
    config = write_config(folder, CODE, source={"file": "ids.txt"})
    with started("run", config, "--stay", "--every", "200ms", "--quiet", cwd=folder) as worker:
        until(lambda: called(folder) == ["a", "b"], "the source was not read")
        worker.wait_for("waiting for new items")
        source.write_text("a\nb\nc\n")
        until(lambda: called(folder) == ["a", "b", "c"], "the source was not read again")
        source.unlink()
        assert "1 item submitted to run 1 = 1 new" in rxpipe("submit", config, "17").out
        until(lambda: called(folder) == ["17", "a", "b", "c"], "what was submitted was not taken")
        until(lambda: len(rows(folder / "bank.db")) == 4, "not all was written")
        worker.send(signal.SIGTERM)
        ended = worker.end()
    assert (ended.code, ended.out) == (143, "")


@pytest.mark.slow
def test_workers_that_stay_and_are_killed(folder: Path) -> None:
    """Several processes submit while two workers stay, one of which is killed: each item is written once.

    Only the calls that the killed one had begun are made again.
    """
    with own_database(answering(POSTGRES)) as place:
        url = place.render_as_string(hide_password=False)
        config = write_config(folder, CODE, source={"range": 1}, database={"url": url})

        def written() -> list[str]:
            with create_engine(url, poolclass=NullPool).connect() as connection:
                return sorted(connection.execute(text("SELECT id FROM results")).scalars())

        with (
            started("run", config, "--stay", cwd=folder) as first,
            started("run", config, "--stay", cwd=folder) as second,
        ):
            until(lambda: called(folder) == ["1"], "nobody has begun")
            for worker in (first, second):
                worker.wait_for("waiting for new items")
            (folder / "wait").touch()
            batches = [[f"{name}{number}" for number in range(8)] for name in "xyz"]
            submitters = [Program("-m", "rxpipe.cli", "submit", config, *ids, cwd=folder, stdout=-3) for ids in batches]
            assert [one.wait(50) for one in submitters] == [0, 0, 0]
            until(lambda: len({process for process, _ in ledger(folder)[1:]}) == 2, "one of them takes nothing")
            until(lambda: len(ledger(folder)) >= 1 + 6, "their slots are not full")
            first.send(signal.SIGKILL)
            first.end()
            begun = Counter(process for process, _ in ledger(folder)[1:])
            os.unlink(folder / "wait")
            assert "1 new" in rxpipe("submit", config, "last").out
            expected = sorted(["1", "last", *(item for ids in batches for item in ids)])
            until(lambda: written() == expected, "something is lost")
            second.send(signal.SIGTERM)
            assert second.end().code == 143
        times = Counter(called(folder))
        assert sorted(times) == expected
        assert max(times.values()) == 2
        again = [item for item, count in times.items() if count == 2]
        assert len(again) in begun.values()
        assert len(again) <= 3
