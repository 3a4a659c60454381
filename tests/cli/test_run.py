"""``rxpipe run``, from a config to rows, exit codes and reports."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest

from rxpipe.pipeline.outcome import Report

from .program import SEED, refused, rows, run_program, rxpipe, write_config

FAILS = "def work(i):\n    if i != 2: raise ValueError(f'no answer to {i}')\n    return {'score': 1}\n"
PRINTS = "print('imported')\ndef work(i):\n    print('called')\n    return {'score': i}\n"


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
@pytest.mark.parametrize("strategy", ["staged", "per_item", "per_stage"])
def test_seed(folder: Path, strategy: str, scheduler: str) -> None:
    """The seed's config writes as many graded rows as were asked for, in each way."""
    ended = rxpipe("run", SEED, "--count", "100", "--strategy", strategy, "--scheduler", scheduler)
    assert ended.code == 0
    assert "100 taken = 100 written + 0 failed + 0 cancelled" in ended.out
    found = rows(folder / "seed.db")
    assert {row[0] for row in found} == {str(number) for number in range(1, 101)}
    assert {row[1:] for row in found} == {("written", 1.0)}


def test_options_override_the_config(folder: Path) -> None:
    """Rows go where the option says, into the config's table, and as many as the option says."""
    config = write_config(folder, "def work(i): return {'score': 1}", database={"url": "sqlite:///a.db", "table": "t"})
    ended = rxpipe("run", config, "--database", "sqlite:///b.db", "--count", "7", "--strategy", "per_item")
    assert ended.code == 0
    assert "rows: sqlite:///b.db, table t" in ended.out
    assert len(rows(folder / "b.db", "select id from t")) == 7
    assert not (folder / "a.db").exists()


def test_settings_override_the_config(folder: Path) -> None:
    """As in ``rxpipe simulate``; what is none is refused in the words of the option."""
    config = write_config(folder, "def work(i): return {'score': 1}")
    ended = rxpipe("run", config, "--set", "stages.work.concurrency=7", "--set", "source.range=2", "--json")
    report = json.loads(ended.out)
    assert (ended.code, report["written"], report["stages"][0]["concurrency"]) == (0, 2, 7)
    message = refused("run", config, "--set", "stages.work.concurency=7")
    assert message.startswith("--set: stages.work.concurency: unknown key; did you mean 'concurrency'?")
    assert refused("run", config, "--set", "stages.work").startswith("--set: 'stages.work' is no setting")


def test_another_database_is_not_asked_for_ids(folder: Path) -> None:
    """A query that names no database goes to the config's, wherever rows are written."""
    with closing(sqlite3.connect(folder / "a.db")) as database:
        database.executescript("create table todo (id); insert into todo values (7), (8)")
    config = write_config(
        folder,
        "def work(i): return {'score': 1}",
        source={"sql": "select id from todo"},
        database={"url": "sqlite:///a.db"},
    )
    assert rxpipe("run", config, "--database", "sqlite:///b.db").code == 0
    assert {row[0] for row in rows(folder / "b.db")} == {"7", "8"}


@pytest.mark.slow
def test_a_count_beyond_all_bounds(folder: Path) -> None:
    """A run without an end in sight can be interrupted like any other; here its stage ends it."""
    config = write_config(folder, "import os\ndef work(i): os._exit(9)")
    ended = run_program("run", config, "--count", "99999999999999999999999", cwd=folder)
    assert (ended.code, "Traceback" in ended.err) == (9, False)


def test_json_is_the_report(folder: Path) -> None:
    """Standard output is one JSON object: the report's fields, with counts that add up, and what went wrong."""
    config = write_config(folder, FAILS, pipeline_config={"retry": {"max_attempts": 1}})
    ended = rxpipe("run", config, "--json")
    report = json.loads(ended.out)
    assert list(report) == [*(field.name for field in fields(Report)), "ended_early", "stopped_by"]
    text = "ValueError: no answer to 1"
    assert report["errors"] == [{"stage": "work", "text": text, "count": 2, "same": False}]
    assert (report["ended_early"], report["stopped_by"]) == (None, None)
    assert (report["taken"], report["written"], report["failed"], report["cancelled"]) == (3, 1, 2, 0)
    assert report["stages"][0]["name"] == "work"


DROPS = "from rxpipe import Drop\ndef work(i):\n    return i if i == 2 else Drop('too odd')\n"


def test_dropped_items_are_told_with_their_reason(folder: Path) -> None:
    """They are neither failed nor cancelled: the program has done what it should."""
    config = write_config(folder, DROPS, database={"durable": False})
    ended = rxpipe("run", config)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "3 taken = 1 written + 0 failed + 2 dropped + 0 cancelled"
    assert lines[lines.index("dropped items, the commonest reason first:") + 1].split() == ["2", "work", "too", "odd"]
    report = json.loads(rxpipe("run", config, "--json").out)
    assert (report["dropped"], report["cancelled"], report["stages"][0]["dropped"]) == (2, 0, 2)
    assert report["drops"] == [{"stage": "work", "text": "too odd", "count": 2, "same": True}]


@pytest.mark.parametrize("option", ["--json", "--quiet"])
def test_what_stages_print_is_no_result(folder: Path, option: str) -> None:
    """What modules and functions print goes to standard error."""
    ended = rxpipe("run", write_config(folder, PRINTS), option)
    assert ended.code == 0
    assert "called" not in ended.out
    assert "imported" not in ended.out
    assert ended.err.count("called") == 3


def test_quiet_says_nothing(folder: Path) -> None:
    """With --quiet there is nothing to read, and the rows are there."""
    assert rxpipe("run", SEED, "--quiet") == (0, "", "")
    assert len(rows(folder / "seed.db")) == 100


def test_quiet_tells_errors(folder: Path) -> None:
    """With --quiet, why items failed is told all the same."""
    ended = rxpipe("run", write_config(folder, FAILS, pipeline_config={"retry": {"max_attempts": 1}}), "--quiet")
    assert ended == (1, "", "error: work: ValueError: no answer to 1 (2 items)\n")


def test_failures_are_explained(folder: Path) -> None:
    """Failed items give 1, and the commonest errors are told with the stage."""
    ended = rxpipe("run", write_config(folder, FAILS, pipeline_config={"retry": {"max_attempts": 1}}))
    assert ended.code == 1
    assert "3 taken = 1 written + 2 failed + 0 cancelled" in ended.out
    lines = ended.out.splitlines()
    error = lines[lines.index("errors, the commonest first:") + 1]
    assert error.split(maxsplit=2)[:2] == ["2", "work"]
    assert "ValueError: no answer to " in error


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_source_that_raises(folder: Path, scheduler: str, quiet: bool) -> None:
    """A source that raises in the middle: one message that says where, what was done, 1."""
    stages = "def ids():\n    yield from range(5)\n    raise OSError('the feed is gone')\ndef work(i): return i\n"
    config = write_config(folder, stages, source={"call": "MODULE:ids"}, scheduler=scheduler)
    ended = rxpipe("run", config, *(["--quiet"] if quiet else []))
    assert ended.code == 1
    assert ended.err.startswith("error: the run ended early: OSError: the feed is gone (")
    assert ended.err.endswith(".py, line 3)\n")
    assert quiet == ("5 taken = 5 written" not in ended.out)
    assert len(rows(folder / "bank.db")) == 5


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_database_that_goes_away(folder: Path, scheduler: str) -> None:
    """A database that takes no more rows: one message, what was done, 1."""
    code = (
        "import sqlite3\ndef work(i):\n    if i < 40: return i\n    bank = sqlite3.connect('bank.db', timeout=5)\n"
        "    bank.execute('drop table if exists results')\n    bank.commit()\n    bank.close()\n"
    )
    ended = rxpipe("run", write_config(folder, code, source={"range": 40}, scheduler=scheduler))
    assert ended.code == 1
    assert ended.err.startswith("error: the run ended early: the database takes no rows: ")
    assert len(ended.err.splitlines()) == 1
    taken, written, failed, cancelled = (int(word) for word in ended.out.splitlines()[0].split() if word.isdigit())
    assert taken == written + failed + cancelled
    assert cancelled > 0


def test_id_of_a_wrong_type(folder: Path) -> None:
    """An ID that is none ends the run early; it is found when rows are there already, so it gives 1."""
    stages = "def ids(): return [1, 2, None]\ndef work(i): return i\n"
    ended = rxpipe("run", write_config(folder, stages, source={"call": "MODULE:ids"}), "--json")
    assert ended.code == 1
    assert "an ID must be an int or a str, not None" in ended.err
    assert json.loads(ended.out)["written"] == 2


@pytest.mark.slow
def test_stalled_stage(folder: Path) -> None:
    """A stage whose calls never return ends the run with 1 and a message, not in silence."""
    stages = "import threading\ndef work(i): threading.Event().wait()\n"
    shared = {"parallel_pipelines": 1, "timeouts": {"work": 0.05}, "retry": {"max_attempts": 1}}
    config = write_config(folder, stages, source={"range": 9}, pipeline_config=shared)
    ended = run_program("run", config, cwd=folder)
    assert ended.code == 1
    assert "error: the run ended early: work: stalled" in ended.err
    assert "StageTimeout: work: no result within 0.05 s" in ended.out


def test_empty_source(folder: Path) -> None:
    """A source without IDs is a run in which nothing failed."""
    stages = "def ids(): return []\ndef work(i): return i\n"
    ended = rxpipe("run", write_config(folder, stages, source={"call": "MODULE:ids"}))
    assert ended.code == 0
    assert "0 taken = 0 written + 0 failed + 0 cancelled" in ended.out


def test_logs_go_to_standard_error(folder: Path) -> None:
    """What rxpipe logs does not mix with results, and --quiet only lets errors through."""
    stages = (
        "import structlog\ndef work(i):\n    log = structlog.get_logger()\n"
        "    log.warning('odd', id=i)\n    log.error('bad', id=i)\n"
    )
    config = write_config(folder, stages, source={"range": 1})
    ended = rxpipe("run", config, "--json")
    assert [line.split(maxsplit=1)[1] for line in ended.err.splitlines()] == [
        "[warning  ] odd id=1",
        "[error    ] bad id=1",
    ]
    assert json.loads(ended.out)["written"] == 1
    quiet = rxpipe("run", config, "--quiet", "--fresh")
    assert quiet.out == ""
    assert [line.split(maxsplit=1)[1] for line in quiet.err.splitlines()] == ["[error    ] bad id=1"]


def test_password_is_not_shown(folder: Path) -> None:
    """A database that cannot be is told without its password."""
    config = write_config(folder, "def work(i): return i", database={"url": "nosuch://me:s3cret@host/bank"})
    assert "s3cret" not in refused("run", config)


@pytest.mark.slow
def test_program_prints_json_only(folder: Path) -> None:
    """Also the program itself has nothing but the report on standard output, and no warnings."""
    ended = run_program("run", SEED, "--json", cwd=folder)
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out)["written"] == 100


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_failed_run_leaves_no_traceback(folder: Path, scheduler: str) -> None:
    """There is one message, also at the program's very end, when nobody is left to ask what a future raised."""
    code = "def ids():\n    yield 1\n    raise OSError('the feed is gone')\ndef work(i): return i\n"
    config = write_config(folder, code, source={"call": "MODULE:ids"}, scheduler=scheduler)
    ended = run_program("run", config, cwd=folder)
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1


@pytest.mark.slow
def test_narrow_encoding(folder: Path) -> None:
    """A narrow encoding is no reason to fail."""
    ended = run_program("run", SEED, cwd=folder, PYTHONIOENCODING="ascii")
    assert (ended.code, ended.err) == (0, "")
    assert "100 taken" in ended.out


def test_modules_are_found_beside_the_config(folder: Path) -> None:
    """The current directory does not matter for modules."""
    inner = folder / "inner"
    inner.mkdir()
    ended = rxpipe("run", write_config(inner, "def work(i): return i"), "--quiet")
    assert ended.code == 0
    assert str(inner) in sys.path
