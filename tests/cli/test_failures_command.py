"""``rxpipe failures``, and an item with all of its calls: ``rxpipe show RUN --id ID``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .program import refused, rxpipe, write_config
from .store_program import document, lines, sql

pytest_plugins = ("store.store_fixtures",)
pytestmark = pytest.mark.usefixtures("nowhere")


def test_failures(bank_in: str) -> None:
    """A line for each failed item, with what it failed with in the end."""
    shown = lines("failures", "latest")
    assert shown[0] == "4 failed items in run 1"
    assert shown[2].split() == ["ID", "stage", "attempts", "at", "error"]
    by_id = {line.split()[0]: line for line in shown[3:7]}
    assert set(by_id) == {"3", "4", "6", "8"}
    assert by_id["3"].split()[1:3] == ["answering", "2"]
    assert by_id["3"].endswith("  ValueError: no answer to 3")
    assert shown[8].startswith("rxpipe show 1 --id ")


def test_failures_of_a_config(bank_in: str, nowhere: Path) -> None:
    """With a config, how many attempts there are is known; a row has none."""
    stages = [{"name": name, "call": "store.stores:answer"} for name in ("generation", "answering", "grading")]
    config = nowhere / "bank.yaml"
    config.write_text(json.dumps({"stages": stages, "source": {"range": 3}, "database": {"url": bank_in}}))
    shown = lines("failures", "1", "-c", config)
    tried = {line.split()[0]: line.split()[1:5] for line in shown[3:7]}
    assert tried["3"] == ["answering", "2", "of", "3"]
    (place,) = (places for places in tried.values() if places[0] == "database")
    assert place[1] == "-"
    assert shown[8].endswith(f" -c {config} shows all calls of an item")


def test_failures_of_one_item(bank_in: str) -> None:
    """That is another command, which is named."""
    ended = rxpipe("failures", "latest", "--id", "3")
    assert ended.code == 2
    assert "one item is shown by rxpipe show latest --id 3" in " ".join(ended.err.replace("│", " ").split())


def test_failures_of_a_stage(bank_in: str) -> None:
    """Those of one stage."""
    shown = lines("failures", "1", "--stage", "grading")
    assert shown[0] == "1 failed item in run 1, stage grading"
    assert shown[3].endswith("KeyError: 'score'")


def test_no_failures(bank_in: str) -> None:
    """Where there are none, that is told."""
    assert lines("failures", "1", "--stage", "generation") == ["no failed items in run 1, stage generation"]
    assert document("failures", "1", "--stage", "generation") == []


def test_failures_at_most(bank_in: str) -> None:
    """No more than asked for are shown, and how many there are."""
    shown = lines("failures", "1", "--limit", "1")
    assert (len(shown), shown[-1]) == (8, "the latest 1 of 4; --limit shows more")


def test_all_failures(bank_in: str) -> None:
    """All failed calls, those that were made again as well."""
    shown = lines("failures", "1", "--all", "--stage", "answering")
    assert shown[0] == "4 failed calls in run 1, stage answering"
    assert sorted(line.split()[3] for line in shown[3:7]) == ["failed", "failed", "retried", "retried"]


def test_failures_in_full(bank_in: str) -> None:
    """With traceback and input."""
    shown = lines("failures", "1", "--stage", "grading", "--verbose")
    assert shown[2].startswith("4 in grading, attempt 1, ")
    assert shown[3:6] == [
        "KeyError: 'score'",
        'input: {"number":4,"text":"42\\nor so"}',
        "  Traceback (most recent call last):",
    ]
    assert shown[-1] == "  KeyError: 'score'"


@pytest.mark.parametrize("options", [[], ["--verbose"], ["--limit", "2"], ["--all"]])
def test_failures_as_json(bank_in: str, options: list[str]) -> None:
    """One document, with IDs as they were."""
    found = document("failures", "1", *options)
    assert len(found) == (2 if "--limit" in options else 6 if "--all" in options else 4)
    assert {one["id"] for one in found} <= {3, 4, 6, 8}
    assert ("traceback" in found[0]) == ("input" in found[0]) == (options == ["--verbose"])


@pytest.mark.parametrize("command", ["failures", "requeue"])
def test_unknown_stage(bank_in: str, command: str) -> None:
    """A stage that is not there is told with those that are."""
    assert refused(command, "1", "--stage", "gradin") == (
        "--stage: run 1 has no stage 'gradin'; did you mean 'grading'? "
        "allowed: generation, answering, grading, database"
    )


def test_foreign_text_cannot_act_on_the_terminal(bank_in: str) -> None:
    """Escape sequences, line ends and markup in errors and names are shown, not obeyed."""
    sql(bank_in, "UPDATE rxpipe_failures SET text = 'a\x1b[2Jb\nc[bold]d[/nothing]'")
    sql(bank_in, "UPDATE rxpipe_runs SET name = '[red]\x1b[2J'")
    for command in (["failures", "1"], ["failures", "1", "-v"], ["show", "1"], ["runs"]):
        out = rxpipe(*command).out
        assert "\x1b" not in out
        assert "\\x1b[2J" in out
    assert "a\\x1b[2Jb\\nc[bold]d[/nothing]" in rxpipe("failures", "1").out


CALLS = """
from rxpipe import Drop, SendBack, Usage, feedback, record_usage

def write(number):
    return {"question": f"What is {number}?" + " and" * 100, "round": 1 if feedback() is None else 2}

def check(value):
    record_usage(Usage(prompt_tokens=10, completion_tokens=2, cost=0.25))
    if value["question"].startswith("What is 1?"):
        raise ValueError("no number\\nat all")
    if value["question"].startswith("What is 2?") and value["round"] == 1:
        raise SendBack("write", "again")
    return Drop("dull") if value["question"].startswith("What is 3?") else 1.5
"""


@pytest.fixture
def calls(nowhere: Path) -> Path:
    """A run: item 1 failed after two attempts, 2 was sent back once and is written, 3 was dropped."""
    retry = {"max_attempts": 2, "initial": 0.001}
    stages = [{"name": name, "call": f"MODULE:{name}", "retry": retry} for name in ("write", "check")]
    config = write_config(nowhere, CALLS, stages=stages)
    assert rxpipe("run", config).code == 1
    return config


def test_an_item_that_failed(calls: Path) -> None:
    """Its input, each call in order with its attempt, and what came of it; whole values are for -v."""
    shown = lines("show", "latest", "--id", "1", "-c", calls)
    assert shown[0] == "item 1 of run 1: failed in check"
    assert shown[1].startswith("3 calls, ")
    assert shown[1].endswith("20 prompt and 4 completion tokens, cost 0.50 (in the currency of your prices)")
    assert shown[2] == "  input: 1"
    heads = [line.split(", ")[:2] for line in shown if ", attempt" in line]
    assert [(head.split()[-1], attempt) for head, attempt in heads] == [
        ("write", "attempt 1 of 2: ok"),
        ("check", "attempt 1 of 2: failed"),
        ("check", "attempt 2 of 2: failed"),
    ]
    assert (heads[0][0].split("  ")[0], all(head.startswith("+") for head, _ in heads)) == ("+0 s", True)
    assert "and was made again" in next(line for line in shown if "check, attempt 1" in line)
    assert [line for line in shown if "error" in line] == ["  error: ValueError: no number at all"] * 2
    (result,) = (line for line in shown if line.startswith("  result: "))
    assert (result.startswith('  result: {"question": "What is 1?'), result[-1]) == (True, "…")
    assert shown[-1].startswith("-v shows all of it")
    whole = lines("show", "latest", "--id", "1", "-c", calls, "-v")
    assert "    Traceback (most recent call last):" in whole
    assert not any("…" in line or "-v shows" in line for line in whole)


def test_an_item_that_was_sent_back_and_one_that_was_dropped(calls: Path) -> None:
    """Rounds are told; the result stands at the call that it is of."""
    shown = lines("show", "1", "--id", "2", "-c", calls)
    assert shown[0] == "item 2 of run 1: written"
    assert "sent back 1 time; of each stage, the result of the last round is kept" in shown
    kinds = [line.split("  ")[-1].split()[0].rstrip(",:") for line in shown[4:-2] if line]
    assert kinds == ["write", "check", "write", "result", "check", "result"]
    dropped = lines("show", "1", "--id", "3", "-c", calls)
    assert any("dropped the item" in line for line in dropped)
    assert "  reason: dull" in dropped


def test_an_item_as_json(calls: Path) -> None:
    """All of it."""
    found = document("show", "1", "--id", "1", "-c", str(calls))
    assert (found["run"], found["id"], found["status"], found["stage"]) == (1, 1, "failed", "check")
    assert [(call["stage"], call["attempt"], call["ended"]) for call in found["calls"]] == [
        ("write", 1, "ok"),
        ("check", 1, "retried"),
        ("check", 2, "failed"),
    ]
    assert found["outputs"]["write"]["round"] == 1
    assert [call["pause"] is None for call in found["calls"]] == [True, True, False]
    offsets = [call["offset"] for call in found["calls"]]
    assert (offsets[0], offsets) == (0, sorted(offsets))


def test_an_item_that_was_requeued(calls: Path) -> None:
    """The calls of both times, each with its seconds, and a line between."""
    rxpipe("requeue", "1", "--id", "1", "-c", calls)
    assert rxpipe("run", calls).code == 1
    shown = lines("show", "1", "--id", "1", "-c", calls)
    assert re.match(r"5 calls: [\d.]+ m?s, then [\d.]+ m?s after a requeue, 40 prompt", shown[1])
    (place,) = (place for place, line in enumerate(shown) if line.startswith("requeued, first call at 20"))
    attempts = [line.split(", ")[1] for line in shown[place:] if ", attempt" in line]
    assert attempts == ["attempt 1 of 2: failed", "attempt 2 of 2: failed"]
    assert shown[place + 2].startswith("+0 s ")
    found = document("show", "1", "--id", "1", "-c", str(calls))
    assert [call["anew"] for call in found["calls"]] == [None, None, None, "requeued", None]


BUSY = """
class Busy(Exception):
    uses_attempt = False

tries = []

def work(number):
    tries.append(number)
    if len(tries) < 3:
        raise Busy("429") if len(tries) == 1 else ValueError("no")
    return number
"""


def test_a_call_that_was_refused(nowhere: Path) -> None:
    """It is said so, and has not the error of the attempt after it."""
    retry = {"max_attempts": 2, "initial": 0.001}
    stages = [{"name": "work", "call": "MODULE:work", "retry": retry}]
    config = write_config(nowhere, BUSY, stages=stages, source={"range": 1})
    assert rxpipe("run", config).code == 0
    shown = [line for line in lines("show", "1", "--id", "1", "-c", config) if "attempt" in line or "error" in line]
    assert "work, attempt 1 of 2: refused for now (as with a 429)" in shown[0]
    assert "work, attempt 1 of 2: failed, and was made again" in shown[1]
    assert shown[2] == "  error: ValueError: no"


def test_items_of_a_family(family_in: str) -> None:
    """A parent counts its children, a child names its parent."""
    assert "3 children: 1 collected + 1 dropped + 1 failed" in lines("show", "1", "--id", "1")
    shown = lines("show", "1", "--id", "1/1")
    assert shown[0] == "item 1/1 of run 1: failed in answering"
    assert "a child of 1" in shown
    assert any(line.endswith("error: ValueError: no answer") for line in shown)


def test_an_item_that_is_not(bank_in: str) -> None:
    """It is told, as is an option without an item."""
    assert refused("show", "1", "--id", "99").startswith("--id: run 1 has no item '99'")
    assert "it goes with --id" in rxpipe("show", "1", "-v").err
