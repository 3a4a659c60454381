"""The commands that look at and mend runs: how they find a store, what they print, and what they refuse."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url

from rxpipe import Usage
from rxpipe.cli.commands import history
from rxpipe.cli.commands.history import local_time, utc_time
from rxpipe.store.queries.details import RunDetails, details
from rxpipe.store.queries.history import RunInfo

from .program import refused, rxpipe
from .store_program import answer, document, lines, sql

pytest_plugins = ("store.store_fixtures",)
pytestmark = pytest.mark.usefixtures("nowhere")

READING = (["runs"], ["show", "latest"], ["failures", "latest"], ["workers"])
ALL = (*READING, ["requeue", "latest"], ["export", "latest", "out.csv"], ["prune", "latest"])


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine is where clocks show UTC and five hours more."""
    monkeypatch.setenv("TZ", "XXX-5")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_help_names_the_commands() -> None:
    """They stand in a list of their own."""
    out = rxpipe("--help").out
    place = out.index("Runs that are kept in a database")
    assert all(out.index(f" {command[0]} ", place) for command in ALL)


@pytest.mark.parametrize("command", ALL)
def test_no_database(nowhere: Path, command: list[str]) -> None:
    """Without a database to look into there is one error that says how to name it, and none is made."""
    assert refused(*command) == (
        "which database? Give --config or --database, or set RXPIPE_DATABASE; there is no questions.db here"
    )
    assert list(nowhere.iterdir()) == []


@pytest.mark.parametrize("store_kind", ["sqlite"])
def test_default_database(bank_url: str, nowhere: Path) -> None:
    """The one that a config without a database has is looked into if it is there."""
    Path(str(make_url(bank_url).database)).rename(nowhere / "questions.db")
    assert lines("runs")[2].split()[:3] == ["1", "bank", "finished"]


@pytest.mark.parametrize("store_kind", ["sqlite"])
@pytest.mark.parametrize("command", ALL)
def test_the_database_is_told(bank_url: str, nowhere: Path, command: list[str]) -> None:
    """Each command's answer ends with the whole path of the database, however it was found."""
    Path(str(make_url(bank_url).database)).rename(nowhere / "questions.db")
    assert answer(*command)[-1] == f"database: sqlite:///{nowhere / 'questions.db'}"


def test_database_of_a_config(bank_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config's database is looked into, whatever the environment says."""
    monkeypatch.setenv("RXPIPE_DATABASE", "sqlite:///other.db")
    Path("bank.yaml").write_text(json.dumps({"database": {"url": bank_url}}))
    assert len(document("runs", "--config", "bank.yaml")) == 1


def test_database_option(bank_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option beats the config and the environment, as with ``rxpipe run``."""
    monkeypatch.setenv("RXPIPE_DATABASE", "sqlite:///other.db")
    Path("bank.yaml").write_text("database: {url: 'sqlite:///third.db'}")
    assert len(document("runs", "-c", "bank.yaml", "--database", bank_url)) == 1


@pytest.mark.parametrize("command", ALL)
def test_missing_file(nowhere: Path, command: list[str]) -> None:
    """A file that is not there is told, and not made."""
    told = refused(*command, "--database", "sqlite:///nowhere.db")
    assert told == (
        "--database: sqlite:///nowhere.db: there is no such file. "
        f"SQLite paths start from the current directory, {nowhere}"
    )
    whole = refused(*command, "--database", f"sqlite:///{nowhere}/else.db")
    assert whole == f"--database: sqlite:///{nowhere}/else.db: there is no such file"
    assert list(nowhere.iterdir()) == []


def test_config_is_named() -> None:
    """What is wrong with the database of a config is told with the config's key."""
    Path("bank.yaml").write_text("database: {url: 'sqlite:///nowhere.db'}")
    assert refused("runs", "-c", "bank.yaml").startswith("bank.yaml: database.url: sqlite:///nowhere.db: there is no")


@pytest.mark.parametrize("command", READING)
def test_missing_config(command: list[str]) -> None:
    """A config that is not there is told."""
    assert refused(*command, "-c", "nowhere.yaml") == "nowhere.yaml: no such file"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("bank.db", "given the text 'bank.db'; allowed: a database URL"),
        ("nosuch://host/bank", "there is no"),
        ("mysql+pymysql://me:s3cret@127.0.0.1:1/bank", "SQLite or PostgreSQL, not in mysql"),
        ("sqlite:///:memory:", "plain file"),
    ],
)
def test_bad_database(url: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that can be none is told with what named it, and without its password."""
    message = refused("runs", "--database", url)
    monkeypatch.setenv("RXPIPE_DATABASE", url)
    assert refused("runs") == message.replace("--database", "RXPIPE_DATABASE")
    assert message.startswith("--database: ")
    assert told in message
    assert "s3cret" not in message


def test_unreachable_server() -> None:
    """A server that is not there is told, without its password."""
    with socket.socket() as taken:  # bound, and not listening: whoever connects is refused
        taken.bind(("127.0.0.1", 0))
        message = refused("runs", "--database", f"postgresql://me:s3cret@127.0.0.1:{taken.getsockname()[1]}/bank")
    assert message.startswith("--database: cannot open postgresql+psycopg://me:***@127.0.0.1")
    assert len(message.splitlines()) == 1


def test_database_without_a_store(no_runs_url: str) -> None:
    """A database that nothing was kept in is told."""
    sql(no_runs_url, "DROP TABLE rxpipe_schema")
    assert "has no run store" in refused("runs", "--database", no_runs_url)


def test_store_of_a_newer_rxpipe(bank_in: str) -> None:
    """So is a store that this version does not know."""
    sql(bank_in, "UPDATE rxpipe_schema SET version = 99")
    assert "has schema 99, and this rxpipe knows" in refused("runs")


@pytest.mark.parametrize("command", ["show", "failures", "requeue"])
@pytest.mark.parametrize("run", ["x", "-1", "1.5", "²", ""])
def test_what_is_no_run(command: str, run: str) -> None:
    """A run is a number or the latest."""
    ended = rxpipe(command, "--", run)
    assert (ended.code, ended.out) == (2, "")
    assert "allowed: the number of a run, or latest" in " ".join(ended.err.replace("│", " ").split())


@pytest.mark.parametrize("command", [*READING[1:3], ["workers", "7"], *ALL[4:]])
def test_unknown_run(bank_in: str, command: list[str]) -> None:
    """A run that is not there is told with those that are."""
    assert refused(*(word.replace("latest", "7") for word in command)) == "there is no run 7; known: 1"


def test_empty_store(no_runs_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store without runs says so."""
    monkeypatch.setenv("RXPIPE_DATABASE", no_runs_url)
    assert (lines("runs"), document("runs")) == (["no runs"], [])
    assert (lines("workers"), document("workers")) == (["no workers now"], [])
    assert refused("show", "latest") == "the store has no runs"
    assert lines("prune", "--keep", "0") == ["no runs to delete"]


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (None, ["workers", "written", "failed", "ready", "running", "created", "finished"]),
        (120, ["workers", "written", "failed", "ready", "running", "created", "finished"]),
        (80, ["written", "failed", "ready", "running", "created"]),
        (60, ["written", "failed", "ready", "running"]),
    ],
)
def test_runs(three_in: str, width: int | None, columns: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is a row, and what matters least is left out where there is no room; a pipe has room for all."""
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
    shown = lines("runs")
    assert width is None or max(map(len, shown[:5])) <= width
    assert shown[0].split() == ["run", "name", "state", *columns]
    hidden = {80: "finished", 60: "created, finished"}.get(width or 0)
    told = f"not shown, the window is too narrow: {hidden} (--json has them)"
    assert shown[5:] == ([told] if hidden else [])
    assert [line.split()[:3] for line in shown[2:5]] == [
        ["1", "bank", "finished"],
        ["2", "bank", "finished"],
        ["3", "other", "unfinished"],
    ]
    first = shown[2].split()[3 + columns.index("written") :]
    assert first[:4] == ["2", "0", "0", "0"]


def test_runs_as_json(three_in: str) -> None:
    """Programs get counts as numbers, and times in UTC."""
    found = document("runs")
    assert [(one["run"], one["name"], one["generation"], one["state"], one["items"]) for one in found] == [
        (1, "bank", 1, "finished", 2),
        (2, "bank", 2, "finished", 1),
        (3, "other", 1, "unfinished", 1),
    ]
    created = datetime.fromisoformat(found[0]["created_at"])
    assert created.utcoffset() == timedelta(0)
    assert abs(created.timestamp() - sql(three_in, "SELECT created_at FROM rxpipe_runs WHERE id = 1")[0][0]) < 0.01
    assert found[2]["finished_at"] is None


def test_times(in_utc: None) -> None:
    """Times are local on the screen, and UTC as JSON."""
    assert (local_time(1_700_000_000.9), local_time(None)) == ("2023-11-15 03:13:20", "-")
    assert (utc_time(1_700_000_000.5), utc_time(None)) == ("2023-11-14T22:13:20.500+00:00", None)


def test_show(bank_in: str) -> None:
    """One run in full: its counts, its stages, and why calls failed."""
    shown = lines("show", "latest")
    assert shown[0] == "run 1 of bank, finished"
    assert shown[2:4] == ["10 items = 6 written + 4 failed + 0 ready + 0 running", "30 calls in all, 6 failed"]
    assert shown[5].split() == ["stage", "checkpoints", "failed", "calls", "failed", "version", "call"]
    assert [line.split() for line in shown[7:11]] == [
        ["generation", "10", "0", "0", "-", "store.stores:generate"],
        ["answering", "8", "4", "2", "2", "store.stores:answer"],
        ["grading", "7", "1", "1", "-", "store.stores:grade"],
        ["database", "0", "1", "1", "-", "-"],
    ]
    assert shown[12] == "how long calls took, and items waited for them:"
    assert shown[13].split()[:7] == ["stage", "call", "p50", "call", "p95", "call", "p99"]
    assert [line.split()[0] for line in shown[15:18]] == ["generation", "answering", "grading"]
    assert shown[19] == "failed calls, the commonest first:"
    assert shown[20].split(maxsplit=2)[:2] == ["4", "answering"]
    assert shown[20].endswith("(numbers vary)")


@pytest.mark.parametrize("width", [40, 80])
def test_show_fits(bank_in: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of stages is no wider than the screen."""
    monkeypatch.setenv("COLUMNS", str(width))
    assert max(len(line) for line in lines("show", "1")[5:11]) <= width


@pytest.mark.parametrize(
    ("width", "more"), [(80, ["prompt", "completion", "cost"]), (70, ["prompt", "cost"]), (57, ["cost"])]
)
def test_show_keeps_the_cost(bank_in: str, width: int, more: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions and functions go first, then tokens."""

    def paid(connection: Connection, run: RunInfo) -> RunDetails:
        found = details(connection, run)
        used = Usage(prompt_tokens=123_456, completion_tokens=7_890, cost=0.12)
        stages = tuple(replace(one, usage=used, version="with the new prompt of May") for one in found.stages)
        return replace(found, stages=stages)

    monkeypatch.setattr(history, "details", paid)
    monkeypatch.setenv("COLUMNS", str(width))
    shown = lines("show", "1")
    header = next(line for line in shown if line.startswith("stage"))
    assert header.split() == ["stage", "checkpoints", "failed", "calls", "failed", *more]
    hidden = [one for one in ("prompt", "completion", "version", "call") if one not in more]
    assert (
        shown[shown.index(header) + 6] == f"not shown, the window is too narrow: {', '.join(hidden)} (--json has them)"
    )


def test_show_as_json(bank_in: str) -> None:
    """The same for programs."""
    found = document("show", "1")
    assert (found["run"], found["calls"], found["failed"], found["live_workers"]) == (1, 30, 4, [])
    times = [found["stages"][1].pop(name) for name in ("seconds", "waits")]
    assert all(0 <= one["p50"] <= one["p95"] <= one["p99"] for one in times)
    assert found["stages"][1] == {
        "name": "answering",
        "call": "store.stores:answer",
        "version": "2",
        "checkpoints": 8,
        "failed_calls": 4,
        "failed": 2,
        "dropped": 0,
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "cost": 0.0},
        "cached": 0,
        "saved": {"prompt_tokens": 0, "completion_tokens": 0, "cost": 0.0},
    }
    assert (found["causes"][0]["type"], found["causes"][0]["count"]) == ("ValueError", 4)


def test_workers(bank_in: str) -> None:
    """By default those at work, else all."""
    assert lines("workers") == ["no workers now"]
    shown = lines("workers", "1", "--all")
    assert shown[0].split(maxsplit=4)[:4] == ["host", "pid", "run", "since"]
    assert shown[2].split()[-2:] == ["0", "stopped"]
    (worker,) = document("workers", "latest", "--all")
    assert (worker["run"], worker["held"], worker["state"]) == (1, 0, "stopped")
