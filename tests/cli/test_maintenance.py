"""``rxpipe requeue``, ``export`` and ``prune``: what they do, what they say, and what they refuse."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
from store.stores import live

from rxpipe.database.engine import database_option

from .program import refused, rxpipe, started
from .store_program import document, lines

pytest_plugins = ("store.store_fixtures",)
pytestmark = pytest.mark.usefixtures("nowhere")


def test_requeue(bank_in: str) -> None:
    """Dead items are ready again, and who takes them up is told."""
    assert lines("requeue", "latest") == [
        "4 items of run 1 are ready again: the next run of its pipeline takes them up"
    ]
    (run,) = document("runs")
    assert (run["state"], run["failed"], run["ready"]) == ("unfinished", 0, 4)


def test_requeue_with_a_config(bank_url: str) -> None:
    """The command to give is told with the config, where that is known."""
    Path("my bank.yaml").write_text(json.dumps({"database": {"url": bank_url}}))
    told = lines("requeue", "1", "--stage", "grading", "-c", "my bank.yaml")
    assert told == ["1 item of run 1 is ready again: `rxpipe run 'my bank.yaml'` takes it up"]


def test_requeue_with_a_config_and_another_database(bank_in: str) -> None:
    """The command names the database that was changed, not that of the config."""
    Path("bank.yaml").write_text("database: {url: 'sqlite:///other.db'}")
    (told,) = lines("requeue", "1", "-c", "bank.yaml", "--database", bank_in)
    assert told.endswith(f"`rxpipe run bank.yaml {database_option(bank_in)}` takes them up")


def test_requeue_ids(bank_in: str) -> None:
    """Items are named one by one."""
    assert lines("requeue", "1", "--id", "3", "--id", "8")[0].startswith("2 items of run 1 are ready again")
    assert refused("requeue", "1", "--id", "3").startswith("in run 1, item 3 has not failed, it is ready")


def test_requeue_nothing(bank_in: str) -> None:
    """Where nothing has failed, that is told."""
    assert lines("requeue", "1", "--stage", "generation") == ["run 1 has no failed items in generation"]


def test_requeue_what_can_be_no_id(bank_in: str) -> None:
    """An ID that no database takes is told."""
    assert refused("requeue", "1", "--id", "\udcff").startswith("--id: the ID '\\udcff' holds a NUL or half of")


def test_requeue_rows(bank_in: str) -> None:
    """Rows are to be written again, and who does it is told."""
    told = "6 rows are to be written again in run 1: the next run of its pipeline does, without a call"
    assert lines("requeue", "latest", "--rows") == [told]
    assert lines("requeue", "latest", "--rows") == ["run 1 has no written items"]
    assert (
        refused("requeue", "1", "--rows", "--id", "1")
        == "in run 1, item 1 is not written, but ready: nothing was changed"
    )
    assert refused("requeue", "1", "--rows", "--stage", "grading").startswith("--rows is for written items")


def test_requeue_parents_and_children(family_in: str) -> None:
    """What becomes of them is told, where it is not plain."""
    assert lines("requeue", "1") == [
        "4 items of run 1 are ready again: the next run of its pipeline takes them up",
        "1 of them has children, which stay: its call is made again",
        "1 of them waits for its children that are ready again, too",
        "1 of them is a child whose parent was collected already: it is not collected again",
    ]
    (run,) = document("runs")
    assert (run["failed"], run["ready"], run["waiting"]) == (0, 5, 2)


def test_requeue_what_has_not_failed(family_in: str) -> None:
    """The state of an item is told."""
    for item, state in (("2", "waiting"), ("5", "dropped"), ("6", "expanded"), ("1/0", "collected")):
        assert refused("requeue", "1", "--id", item).startswith(f"in run 1, item {item} has not failed, it is {state}")


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_export(bank_in: str, nowhere: Path, ending: str) -> None:
    """A file appears, and what is in it is told."""
    assert lines("export", "latest", f"out.{ending}") == [
        f"out.{ending}: 10 items = 6 written + 4 failed + 0 unfinished of run 1"
    ]
    assert [path.name for path in nowhere.iterdir() if path.suffix != ".db"] == [f"out.{ending}"]


def test_export_to_csv(bank_in: str, nowhere: Path) -> None:
    """A column for each field of the values; or what each stage returned."""
    lines("export", "latest", "out.csv")
    head = "id,status,value,question,number,weight,text,error,failed_stage,attempts,failures"
    assert (nowhere / "out.csv").read_text("utf-8").splitlines()[0] == head
    lines("export", "latest", "out.csv", "--stages", "--formulas")
    head = "id,status,generation,answering,grading,value,error,failed_stage,attempts,failures"
    assert (nowhere / "out.csv").read_text("utf-8").splitlines()[0] == head


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_export_children(family_in: str, ending: str) -> None:
    """All items, or only some."""
    counts = "2 written + 4 failed + 3 dropped + 1 expanded + 3 collected + 3 unfinished"
    assert lines("export", "1", f"out.{ending}") == [f"out.{ending}: 16 items = {counts} of run 1"]
    counts = "2 written + 3 dropped"
    told = lines("export", "1", f"out.{ending}", "--status", "dropped,written", "--columns", "topic")
    assert told == [f"out.{ending}: 5 items = {counts} of run 1"]


def test_export_columns(family_in: str, nowhere: Path) -> None:
    """A flat table of what was asked for."""
    lines("export", "1", "out.csv", "--columns", "answer.text, score", "--status", "written", "--bom")
    assert (nowhere / "out.csv").read_text("utf-8").splitlines() == [
        "\ufeffid,parent,status,answer.text,score,error,failed_stage,attempts,failures",
        "1,,written,a,-5,,,1,0",
        "6/0,6,written,,,,,1,0",
    ]
    lines("export", "1", "out.jsonl", "--columns", "answer", "--status", "written")
    first = json.loads((nowhere / "out.jsonl").read_text("utf-8").splitlines()[0])
    assert first["answer"] == {"text": "a", "votes": 1}
    assert "voting" not in first


def test_export_to_json_lines(family_in: str, nowhere: Path) -> None:
    """What each stage returned, and the parent."""
    lines("export", "1", "out.jsonl")
    head = ["id", "parent", "status", "splitting", "answering", "voting", "grading", "value"]
    rows = [json.loads(line) for line in (nowhere / "out.jsonl").read_text("utf-8").splitlines()]
    assert list(rows[1])[: len(head)] == head
    assert (rows[1]["id"], rows[1]["parent"]) == ("1/0", 1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--columns", " , "], "--columns: ' , ' names nothing"),
        (["--columns", "question.text,nosuch"], "--columns: no value has 'question.text', 'nosuch'"),
        (["--columns", "a", "--stages"], "--columns picks from the value, --stages has what each stage returned: give"),
        (["--status", "writen"], "--status: no item is 'writen'; did you mean 'written'? allowed: written, failed,"),
    ],
)
def test_export_options_that_name_nothing(bank_in: str, nowhere: Path, options: list[str], told: str) -> None:
    """Options that name nothing are one error, and there is no file."""
    assert refused("export", "1", "out.csv", *options).startswith(told)
    assert not (nowhere / "out.csv").exists()


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("out.txt", "out.txt: its ending says no kind of file; allowed: .jsonl, .csv or .parquet"),
        ("-", "-: its ending says no kind of file; allowed: .jsonl, .csv or .parquet"),
        ("nowhere/out.csv", "nowhere/out.csv: there is no directory "),
    ],
)
def test_export_to_nowhere(bank_in: str, file: str, told: str) -> None:
    """A file that cannot be is one error."""
    assert refused("export", "1", file).startswith(told)


def test_export_without_the_extra(bank_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Parquet needs is told."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    told = 'out.parquet: Parquet needs the extra parquet: pip install "pyarrow>='
    assert refused("export", "1", "out.parquet").startswith(told)


@pytest.mark.slow
def test_while_a_run_goes_on(bank_in: str) -> None:
    """A run that goes on can be looked at and exported; it cannot be deleted, and others are not kept from that."""
    with live(bank_in, table="other"):
        assert lines("show", "2")[0] == "run 2 of other, running, 1 worker"
        assert lines("workers")[2].split()[-2:] == ["2", "alive"]
        assert lines("export", "2", "out.csv")[0].endswith("3 items = 1 written + 0 failed + 2 unfinished of run 2")
        assert refused("prune", "2") == "1 worker is at work on run 2: stop them first; nothing was deleted"
        told = lines("prune", "--keep", "0")
    assert told[0] == "1 worker is at work on run 2: it stays"
    assert told[1].startswith("deleted run 1 of bank, finished: 10 items")
    assert [(run["run"], run["state"]) for run in document("runs")] == [(2, "finished")]


def test_prune_needs_a_choice(bank_in: str) -> None:
    """Nothing is deleted unless it is said what."""
    ended = rxpipe("prune", "--dry-run")
    assert (ended.code, ended.out) == (2, "")
    assert "which runs? Name some, or give --finished" in " ".join(ended.err.replace("│", " ").split())


def test_prune(three_in: str) -> None:
    """What is deleted is told, run by run."""
    told = lines("prune", "1", "latest")
    assert told == [
        "deleted run 1 of bank, finished: 2 items, 6 checkpoints, 0 failed calls, 1 worker",
        "deleted run 3 of other, unfinished: 1 item, 1 checkpoint, 0 failed calls, 1 worker",
    ]
    assert [one["run"] for one in document("runs")] == [2]


def test_dry_run(three_in: str) -> None:
    """What would be deleted is told, and stays."""
    told = lines("prune", "--finished", "--keep", "1", "--dry-run")
    assert told == ["would delete run 1 of bank, finished: 2 items, 6 checkpoints, 0 failed calls, 1 worker"]
    assert len(document("runs")) == 3


def test_prune_by_age(three_in: str) -> None:
    """Runs of today are not old."""
    assert lines("prune", "--older-than", "1") == ["no runs to delete"]


def test_prune_an_unknown_run(three_in: str) -> None:
    """If one of the runs is not there, none is deleted."""
    assert refused("prune", "1", "7") == "there is no run 7; known: 3, 2, 1"
    assert len(document("runs")) == 3


@pytest.mark.parametrize(
    ("option", "value"), [("--keep", "-1"), ("--older-than", "-1"), ("--older-than", "x"), ("--keep", "1.5")]
)
def test_bad_numbers(option: str, value: str) -> None:
    """Numbers are checked."""
    ended = rxpipe("prune", option, value)
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("store_kind", ["sqlite"])
def test_export_that_is_terminated(bank_in: str, nowhere: Path) -> None:
    """SIGTERM leaves no half of a file."""
    names = {path.name for path in nowhere.iterdir()}
    waits = "import os, sys, time\ndef wait(file):\n    print('writing', file=sys.stderr)\n    time.sleep(60)\n"
    (nowhere / "sitecustomize.py").write_text(f"{waits}os.fsync = wait\n")
    with started("export", "1", "out.jsonl", cwd=nowhere, PYTHONPATH=str(nowhere)) as program:
        program.wait_for("writing")
        program.send(signal.SIGTERM)
        assert program.end().code == 143
    assert {path.name for path in nowhere.iterdir()} - {"sitecustomize.py", "__pycache__"} == names
